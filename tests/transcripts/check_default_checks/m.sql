ALTER TABLE `${D}.a` DROP COLUMN name;
DELETE FROM `${D}.a` WHERE id = 1;
INSERT INTO `${D}.outside` (x) VALUES (2);
DROP TABLE `${D}.c`;
