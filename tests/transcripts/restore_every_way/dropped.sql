DROP TABLE `${D}.dropped`;
