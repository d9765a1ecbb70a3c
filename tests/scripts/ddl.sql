==== ddl 1
CREATE TABLE d.t (a INT64 NOT NULL, b STRING DEFAULT 'x;y' OPTIONS (description = 'z'), c STRUCT<x INT64, y ARRAY<STRING>>, PRIMARY KEY (a) NOT ENFORCED)
==== ddl 2
CREATE TABLE IF NOT EXISTS d.t (a INT64) PARTITION BY DATE_TRUNC(b, MONTH) CLUSTER BY a OPTIONS (expiration_timestamp = NULL)
==== ddl 3
CREATE OR REPLACE TABLE `p.d.t` PARTITION BY d AS SELECT * FROM `p.d.s` WHERE a = ';'
==== ddl 4
CREATE OR REPLACE TABLE d.t AS (SELECT 1 AS a)
==== ddl 5
CREATE TABLE d.t AS WITH x AS (SELECT 1 AS a) SELECT * FROM x
==== ddl 6
CREATE TEMP TABLE t AS SELECT * FROM d.s
==== ddl 7
CREATE TEMPORARY TABLE t (a INT64)
==== ddl 8
CREATE OR REPLACE TEMP TABLE t AS SELECT 1 AS a
==== ddl 9
CREATE TABLE _SESSION.t AS SELECT 1 AS a
==== ddl 10
CREATE TABLE d.t LIKE d.s
==== ddl 11
CREATE TABLE d.t LIKE d.s AS SELECT * FROM d.u
==== ddl 12
CREATE TABLE d.t COPY d.s
==== ddl 13
CREATE OR REPLACE TABLE d.t CLONE `p.d.s` FOR SYSTEM_TIME AS OF TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR) OPTIONS (description = 'x')
==== ddl 14
CREATE SNAPSHOT TABLE d.s CLONE d.t
==== ddl 15
CREATE SNAPSHOT TABLE IF NOT EXISTS `p.d.s` CLONE `p.d.t` FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01 00:00:00+00' OPTIONS (expiration_timestamp = TIMESTAMP '2026-02-01 00:00:00+00')
==== ddl 16
CREATE EXTERNAL TABLE d.e (a INT64) OPTIONS (format = 'CSV', uris = ['gs://b/a'])
==== ddl 17
CREATE OR REPLACE EXTERNAL TABLE d.e WITH PARTITION COLUMNS WITH CONNECTION `p.us.c` OPTIONS (format = 'PARQUET', uris = ['x'])
==== ddl 18
CREATE VIEW d.v AS SELECT * FROM d.t
==== ddl 19
CREATE OR REPLACE VIEW d.v (a, b OPTIONS (description = 'x')) OPTIONS (labels = [('k', 'v')]) AS WITH x AS (SELECT 1) SELECT 1, 2 FROM x, d.t
==== ddl 20
CREATE VIEW IF NOT EXISTS `p.d.v` AS (SELECT 1 AS a UNION ALL SELECT a FROM d.t)
==== ddl 21
CREATE MATERIALIZED VIEW d.v PARTITION BY a CLUSTER BY b OPTIONS (enable_refresh = TRUE) AS SELECT a, SUM(b) AS b FROM d.t GROUP BY a
==== ddl 22
CREATE MATERIALIZED VIEW d.v AS REPLICA OF d.w
==== ddl 23
CREATE OR REPLACE MATERIALIZED VIEW d.v AS SELECT COUNT(*) AS n FROM d.t
==== ddl 24
CREATE FUNCTION d.f(x INT64) RETURNS INT64 AS (CASE WHEN x > 1 THEN 1 ELSE 2 END)
==== ddl 25
CREATE OR REPLACE FUNCTION `p.d.f`(x ANY TYPE) AS ((SELECT MAX(a) FROM d.t WHERE b = x))
==== ddl 26
CREATE TEMP FUNCTION f(x STRING) RETURNS STRING LANGUAGE js AS r"""return x + ";"; // END"""; SELECT f('a')
==== ddl 27
CREATE TEMPORARY FUNCTION f() AS (1); CREATE TEMP FUNCTION g() AS (2); SELECT f() + g()
==== ddl 28
CREATE AGGREGATE FUNCTION d.f(x FLOAT64) RETURNS FLOAT64 AS (SUM(x) / COUNT(*))
==== ddl 29
CREATE OR REPLACE TEMP AGGREGATE FUNCTION f(x INT64) AS (SUM(x)); SELECT f(a) FROM d.t
==== ddl 30
CREATE FUNCTION IF NOT EXISTS d.f(x INT64) RETURNS INT64 REMOTE WITH CONNECTION `p.us.c` OPTIONS (endpoint = 'https://x;y')
==== ddl 31
CREATE OR REPLACE TABLE FUNCTION d.f(x INT64) AS SELECT * FROM d.t WHERE a = x
==== ddl 32
CREATE TABLE FUNCTION d.f() RETURNS TABLE<a INT64, b STRING> AS (SELECT 1 AS a, 'x' AS b)
==== ddl 33
CREATE SCHEMA d
==== ddl 34
CREATE SCHEMA IF NOT EXISTS `p.d` DEFAULT COLLATE 'und:ci' OPTIONS (location = 'eu')
==== ddl 35
CREATE EXTERNAL SCHEMA d WITH CONNECTION `p.us.c` OPTIONS (external_source = 'x')
==== ddl 36
CREATE MODEL d.m OPTIONS (model_type = 'linear_reg') AS SELECT a, b AS label FROM d.t
==== ddl 37
CREATE OR REPLACE MODEL d.m TRANSFORM (a + 1 AS a) OPTIONS (model_type = 'x') AS SELECT a FROM d.t
==== ddl 38
CREATE MODEL IF NOT EXISTS d.m REMOTE WITH CONNECTION `p.us.c` OPTIONS (endpoint = 'x')
==== ddl 39
CREATE SEARCH INDEX i ON d.t (ALL COLUMNS)
==== ddl 40
CREATE SEARCH INDEX IF NOT EXISTS i ON `p.d.t` (a, b) OPTIONS (analyzer = 'LOG_ANALYZER')
==== ddl 41
CREATE VECTOR INDEX i ON d.t (e) OPTIONS (index_type = 'IVF')
==== ddl 42
CREATE OR REPLACE VECTOR INDEX i ON d.t (e) STORING (a) OPTIONS (index_type = 'IVF')
==== ddl 43
CREATE ROW ACCESS POLICY p ON d.t GRANT TO ('user:a@example.com', 'allUsers') FILTER USING (a IN (SELECT x FROM d.s))
==== ddl 44
CREATE OR REPLACE ROW ACCESS POLICY p ON `p.d.t` FILTER USING (TRUE)
==== ddl 45
ALTER TABLE d.t ADD COLUMN a INT64, ADD COLUMN IF NOT EXISTS b STRING
==== ddl 46
ALTER TABLE IF EXISTS `p.d.t` DROP COLUMN a, DROP COLUMN IF EXISTS b
==== ddl 47
ALTER TABLE d.t RENAME TO u
==== ddl 48
ALTER TABLE IF EXISTS `p.d.t` RENAME TO `u`
==== ddl 49
ALTER TABLE d.t RENAME COLUMN a TO b, RENAME COLUMN c TO e
==== ddl 50
ALTER TABLE d.t ALTER COLUMN a SET DATA TYPE NUMERIC, ALTER COLUMN b DROP NOT NULL, ALTER COLUMN c SET DEFAULT 'x'
==== ddl 51
ALTER TABLE d.t SET OPTIONS (description = 'a;b')
==== ddl 52
ALTER TABLE d.t ADD PRIMARY KEY (a) NOT ENFORCED, ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES d.s (a) NOT ENFORCED, DROP CONSTRAINT IF EXISTS x
==== ddl 53
ALTER VIEW d.v SET OPTIONS (description = 'x')
==== ddl 54
ALTER MATERIALIZED VIEW IF EXISTS d.v SET OPTIONS (enable_refresh = FALSE)
==== ddl 55
ALTER SCHEMA IF EXISTS d SET OPTIONS (default_table_expiration_days = 1)
==== ddl 56
ALTER SCHEMA d SET DEFAULT COLLATE 'und:ci'
==== ddl 57
ALTER MODEL d.m SET OPTIONS (description = 'x')
==== ddl 58
ALTER PROJECT `p` SET OPTIONS (`region-us.default_time_zone` = 'UTC')
==== ddl 59
ALTER ORGANIZATION SET OPTIONS (`region-us.default_time_zone` = 'UTC')
==== ddl 60
ALTER BI_CAPACITY `p.region-us.default` SET OPTIONS (size_gb = 1)
==== ddl 61
ALTER RESERVATION `p.region-us.r` SET OPTIONS (slot_capacity = 1)
==== ddl 62
ALTER VECTOR INDEX IF EXISTS i ON d.t REBUILD
==== ddl 63
DROP TABLE d.t
==== ddl 64
DROP TABLE IF EXISTS `p.d.t`; DROP TABLE my-project.d.t
==== ddl 65
DROP SNAPSHOT TABLE IF EXISTS d.s
==== ddl 66
DROP EXTERNAL TABLE d.e
==== ddl 67
DROP VIEW IF EXISTS d.v
==== ddl 68
DROP MATERIALIZED VIEW d.v
==== ddl 69
DROP FUNCTION IF EXISTS d.f
==== ddl 70
DROP TABLE FUNCTION d.f
==== ddl 71
DROP PROCEDURE IF EXISTS d.p
==== ddl 72
DROP SCHEMA IF EXISTS d CASCADE; DROP SCHEMA `p.d` RESTRICT
==== ddl 73
DROP MODEL IF EXISTS d.m
==== ddl 74
DROP SEARCH INDEX IF EXISTS i ON d.t
==== ddl 75
DROP VECTOR INDEX i ON `p.d.t`
==== ddl 76
DROP ROW ACCESS POLICY IF EXISTS p ON d.t
==== ddl 77
DROP ALL ROW ACCESS POLICIES ON `p.d.t`
==== ddl 78
DROP RESERVATION IF EXISTS `p.region-us.r`; DROP ASSIGNMENT `p.region-us.r.a`; DROP CAPACITY `p.region-us.c`
==== ddl 79
UNDROP SCHEMA d
==== ddl 80
UNDROP SCHEMA IF NOT EXISTS `p.d`
==== ddl 81
CREATE CAPACITY `p.region-us.c` OPTIONS (slot_count = 100); CREATE RESERVATION `p.region-us.r` OPTIONS (slot_capacity = 100)
==== ddl 82
CREATE ASSIGNMENT `p.region-us.r.a` OPTIONS (assignee = 'projects/x', job_type = 'QUERY')
==== ddl 83
CREATE DATA_POLICY IF NOT EXISTS `p.region-us.x` OPTIONS (data_policy_type = 'DATA_MASKING_POLICY')
==== ddl 84
CREATE CONNECTION c OPTIONS (connection_type = 'CLOUD_RESOURCE'); DROP CONNECTION c
==== ddl 85
CREATE OR REPLACE PROPERTY GRAPH d.g NODE TABLES (d.a KEY (id)) EDGE TABLES (d.e KEY (id) SOURCE KEY (x) REFERENCES a (id) DESTINATION KEY (y) REFERENCES a (id))
==== ddl 86
GRANT `roles/bigquery.dataViewer` ON TABLE d.t TO 'user:a@example.com', 'group:b@example.com'
==== ddl 87
GRANT `roles/bigquery.dataOwner`, `roles/bigquery.admin` ON SCHEMA `p.d` TO 'user:a@example.com'
==== ddl 88
GRANT `roles/bigquery.dataViewer` ON VIEW d.v TO 'user:a@example.com'
==== ddl 89
REVOKE `roles/bigquery.dataViewer` ON TABLE `p`.d.t FROM 'user:a@example.com'
==== ddl 90
REVOKE `roles/bigquery.dataViewer` ON SCHEMA d FROM 'allAuthenticatedUsers'
==== ddl 91
CREATE TABLE d.t (a INT64, b INT64 AS (CASE WHEN a > 1 THEN 1 ELSE 2 END) STORED)
==== ddl 92
RENAME TABLE d.a TO b
