==== dml 1
INSERT INTO d.t (a, b) VALUES (1, 2), (3, DEFAULT)
==== dml 2
INSERT d.t (a) SELECT a FROM d.s
==== dml 3
INSERT INTO `my-project.d.t` SELECT * FROM `my-project`.d.s
==== dml 4
INSERT INTO my-project.d.t (a) WITH x AS (SELECT 1 AS a) SELECT a FROM x
==== dml 5
INSERT INTO `my-project.d`.t VALUES (1)
==== dml 6
INSERT INTO `p`.`d`.`t` VALUES (1)
==== dml 7
INSERT INTO `example.com:old-project.d.t` VALUES (1)
==== dml 8
INSERT INTO t SELECT 1
==== dml 9
INSERT INTO _SESSION.t SELECT 1
==== dml 10
INSERT INTO d.t (a) FROM d.s |> SELECT a
==== dml 11
UPDATE d.t SET a = 1 WHERE TRUE
==== dml 12
UPDATE d.t AS t SET t.a = s.a, b.c = DEFAULT FROM d.s AS s, d.u WHERE t.id = s.id
==== dml 13
UPDATE `p.d.t` t SET a = (SELECT MAX(x) FROM d.s WHERE s.id = t.id), b = ARRAY(SELECT y FROM t.items) WHERE TRUE
==== dml 14
UPDATE d.t SET a = a || ';' FROM (SELECT 1 AS x) WHERE t.x = x
==== dml 15
DELETE FROM d.t WHERE a IN (SELECT a FROM d.s)
==== dml 16
DELETE d.t WHERE TRUE
==== dml 17
DELETE FROM my-project.d.t AS t WHERE NOT EXISTS (SELECT 1 FROM d.s WHERE s.id = t.id)
==== dml 18
DELETE FROM `d.t` t WHERE t.a = 'x;y'
==== dml 19
MERGE d.t AS t USING d.s AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (id, a) WHEN NOT MATCHED BY SOURCE THEN DELETE
==== dml 20
MERGE INTO `p.d.t` USING (SELECT * FROM d.s WHERE x) AS s ON FALSE WHEN NOT MATCHED THEN INSERT ROW WHEN NOT MATCHED BY SOURCE AND a > 1 THEN DELETE
==== dml 21
MERGE INTO d.t t USING `p`.d.s s ON t.id = s.id WHEN MATCHED AND CASE WHEN s.x THEN TRUE ELSE FALSE END THEN DELETE
==== dml 22
MERGE d.t USING UNNEST([1, 2]) AS x ON t.id = x WHEN NOT MATCHED THEN INSERT (id) VALUES (x)
==== dml 23
TRUNCATE TABLE d.t
==== dml 24
TRUNCATE TABLE `p.d.t`;
==== dml 25
LOAD DATA INTO d.t FROM FILES (format = 'CSV', uris = ['gs://b/a;b*.csv'])
==== dml 26
LOAD DATA OVERWRITE `p.d.t` FROM FILES (format = 'PARQUET', uris = ['gs://b/a'])
==== dml 27
LOAD DATA INTO TEMP TABLE t (a INT64, b STRING) FROM FILES (format = 'CSV', uris = ['gs://b/a'])
==== dml 28
LOAD DATA INTO TEMP TABLE t FROM FILES (format = 'CSV', uris = ['gs://b/a'])
==== dml 29
LOAD DATA INTO d.t (a INT64, b DATE) PARTITION BY b CLUSTER BY a OPTIONS (description = 'x') FROM FILES (format = 'CSV', uris = ['gs://b/a']) WITH PARTITION COLUMNS (c STRING) WITH CONNECTION `p.us.c`
==== dml 30
LOAD DATA OVERWRITE d.t PARTITIONS (_PARTITIONTIME = TIMESTAMP '2026-01-01') FROM FILES (format = 'CSV', uris = ['gs://b/a'])
==== dml 31
LOAD DATA INTO my-project.d.t FROM FILES (format = 'JSON', uris = ['gs://b/a'])
==== dml 32
EXPORT DATA OPTIONS (uri = 'gs://b/*.csv', format = 'CSV') AS SELECT * FROM d.t
==== dml 33
EXPORT DATA WITH CONNECTION `p.us.c` OPTIONS (uri = 'x') AS (SELECT 1)
==== dml 34
EXPORT MODEL d.m OPTIONS (uri = 'gs://b/m')
