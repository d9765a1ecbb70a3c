==== query 1
SELECT 1
==== query 2
SELECT 1;
==== query 3
SELECT 1; SELECT 2;
==== query 4
WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT * FROM a JOIN b USING (x)
==== query 5
WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n
==== query 6
(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 1
==== query 7
SELECT * FROM d.t AS t, t.items AS item, UNNEST(t.tags) AS tag WITH OFFSET AS n
==== query 8
SELECT CASE WHEN a THEN 1 WHEN b THEN 2 ELSE 3 END AS c, IF(a, b, c), CASE x WHEN 1 THEN 'END' END FROM d.t
==== query 9
SELECT ARRAY(SELECT AS STRUCT a, b FROM d.t), STRUCT<a INT64, b ARRAY<STRING>>(1, ['x']), [1, 2][OFFSET(0)]
==== query 10
SELECT begin, loop, repeat, until, do, transaction, exception, label FROM d.words
==== query 11
SELECT t.end, t.if, t.case, t.select, t.from FROM d.t AS t
==== query 12
SELECT * EXCEPT (a) REPLACE (b + 1 AS b) FROM d.t WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) = 1
==== query 13
SELECT a, SUM(b) FROM d.t GROUP BY ROLLUP (a) HAVING SUM(b) > 1 WINDOW w AS (PARTITION BY a)
==== query 14
SELECT * FROM d.t PIVOT (SUM(a) FOR b IN ('x', 'y')) AS p
==== query 15
SELECT * FROM d.t UNPIVOT (v FOR n IN (a, b))
==== query 16
SELECT * FROM d.t TABLESAMPLE SYSTEM (10 PERCENT) WHERE EXTRACT(DAY FROM x) = 1 AND a IS NOT DISTINCT FROM b
==== query 17
SELECT * FROM d.t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01 00:00:00+00' LEFT JOIN d.u ON t.a = u.a
==== query 18
SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t), d.f(TABLE d.u, 7)
==== query 19
SELECT * FROM `p.d.INFORMATION_SCHEMA.TABLES`, `region-eu`.INFORMATION_SCHEMA.JOBS, `p.d.t_*`
==== query 20
SELECT @a, @`b c`, @@time_zone, @@error.message, @@`x`.y
==== query 21
SELECT ?, ?
==== query 22
SELECT DATE '2026-01-01', TIMESTAMP "2026-01-01", INTERVAL 1 DAY, JSON '{"a": ";"}', NUMERIC '1', RANGE<DATE> '[2026-01-01, 2026-02-01)'
==== query 23
SELECT .5, 1., 1e5, 1E-5, 1.5e+5, 0xAF, -1, +1, ~1, 1 || 2, 1 << 2, 1 >> 2, a <> b, a != b, a <= b, a >= b, f(x -> x + 1)
==== query 24
SELECT a.1b, t.2020 FROM d.t
==== query 25
SELECT f(x => 1, y => 'a;b'), SAFE.g(1), NET.HOST('x'), `d`.f(1), `p.d.f`(2)
==== query 26
SELECT SAFE_CAST('1' AS INT64), CAST(a AS STRING FORMAT 'YYYY;MM'), a BETWEEN 1 AND 2, a LIKE ANY ('x', 'y')
==== query 27
SELECT DISTINCT a FROM d.t EXCEPT DISTINCT SELECT a FROM d.u INTERSECT DISTINCT SELECT a FROM d.v
==== query 28
SELECT AS STRUCT 1 AS a; SELECT AS VALUE STRUCT(1 AS a)
==== query 29
SELECT WITH (a AS 1, b AS a + 1, a + b)
==== query 30
TABLE d.t
==== query 31
SELECT * FROM (d.a JOIN d.b USING (x)) CROSS JOIN d.c, (SELECT 1) AS e
==== query 32
SELECT (SELECT COUNT(*) FROM d.a WHERE a.x = b.x) FROM d.b AS b WHERE EXISTS (SELECT 1 FROM b.items)
