DROP TABLE `${D}.view`;
CREATE VIEW `${D}.view` AS SELECT 1 AS x;
