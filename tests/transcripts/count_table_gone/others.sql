DROP TABLE `${D}.b`;
