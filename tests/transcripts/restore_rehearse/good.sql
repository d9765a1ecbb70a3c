INSERT INTO `${D}.a` (x) VALUES (2);
