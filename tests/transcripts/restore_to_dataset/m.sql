DELETE FROM `${D}.a` WHERE id = 1;
DROP TABLE `${D}.b`;
