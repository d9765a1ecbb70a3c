==== pipe 1
FROM d.t |> WHERE a > 1 |> AGGREGATE COUNT(*) AS n GROUP BY b |> ORDER BY n DESC |> LIMIT 10
==== pipe 2
FROM d.t |> EXTEND a + 1 AS b |> SET a = 2 |> DROP b |> RENAME a AS c |> AS x |> SELECT x.c
==== pipe 3
FROM d.t |> JOIN d.u USING (id) |> LEFT JOIN d.v ON t.id = v.id |> UNION ALL (SELECT * FROM d.w), (FROM d.x)
==== pipe 4
FROM d.t |> CALL d.f(1) |> TABLESAMPLE SYSTEM (1 PERCENT) |> WINDOW SUM(a) OVER () AS s
==== pipe 5
SELECT 1 AS a |> SELECT a + 1; (SELECT 2) |> WHERE TRUE
==== pipe 6
FROM d.s |> INSERT INTO d.t
==== pipe 7
FROM d.s |> WHERE a |> INSERT INTO `p.d.t` (a, b)
==== pipe 8
FROM d.s |> SELECT a, b |> CREATE TABLE d.t
==== pipe 9
FROM d.s |> CREATE OR REPLACE TABLE `p`.d.t PARTITION BY a OPTIONS (description = 'x;y')
==== pipe 10
FROM d.s |> CREATE TABLE IF NOT EXISTS d.t
==== pipe 11
FROM d.s |> CREATE TEMP TABLE t
==== pipe 12
FROM d.s |> EXPORT DATA OPTIONS (uri = 'gs://b/*', format = 'CSV')
==== pipe 13
FROM d.s |> FORK (|> WHERE a |> INSERT INTO d.t), (|> WHERE NOT a |> CREATE OR REPLACE TABLE d.u), (|> EXPORT DATA OPTIONS (uri = 'x'))
==== pipe 14
FROM d.s |> TEE (|> INSERT INTO d.t), (|> SELECT 1) |> SELECT a
==== pipe 15
WITH x AS (SELECT 1 AS a) FROM x |> INSERT INTO d.t (a)
==== pipe 16
FROM d.t |> PIVOT (SUM(a) FOR b IN ('x')) |> UNPIVOT (v FOR n IN (c, e)) |> DISTINCT
==== pipe 17
SELECT '|> INSERT INTO d.t', a || '>' FROM d.t |> WHERE b -- |> INSERT INTO d.u
==== pipe 18
GRAPH d.g MATCH (a)-[e]->(b) RETURN a.name, b.name
==== pipe 19
FROM (FROM d.t |> WHERE a), d.u |> SELECT *
==== pipes of blocks
FOR r IN (FROM d.s |> FORK (|> INSERT INTO d.t), (|> CREATE TEMP TABLE u)) DO SELECT 1; END FOR; FROM d.s |> INSERT INTO d.v
==== pipe in an IF
IF EXISTS (SELECT 1) THEN FROM d.s |> INSERT INTO d.t; ELSEIF TRUE THEN SELECT 1; END IF
