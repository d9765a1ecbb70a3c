CREATE TABLE `${D}.p` (id INT64 NOT NULL OPTIONS (description = 'the key'), day DATE, name STRING)
PARTITION BY day CLUSTER BY id
OPTIONS (description = 'what it is', labels = [('team', 'x')], require_partition_filter = TRUE);
INSERT INTO `${D}.p` (id, day, name) VALUES (1, DATE '2026-01-01', 'a'), (2, NULL, 'b');
