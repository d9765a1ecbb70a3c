CREATE TABLE `${D}.fresh` (id INT64);
INSERT INTO `${D}.fresh` (id) VALUES (1), (2);
