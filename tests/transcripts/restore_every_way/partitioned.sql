DROP TABLE `${D}.partitioned`;
CREATE TABLE `${D}.partitioned` (x INT64, day DATE) PARTITION BY day;
