CREATE TABLE `${D}.a` (id INT64 NOT NULL, name STRING) OPTIONS (description = 'the first', labels = [('team', 'x')]);
INSERT INTO `${D}.a` VALUES (1, 'one'), (2, 'two');
CREATE TABLE `${D}.b` AS SELECT 1 AS x;
CREATE SCHEMA `${D}_look`;
CREATE SCHEMA `${D}_taken`;
CREATE TABLE `${D}_taken.b` AS SELECT 2 AS x;
