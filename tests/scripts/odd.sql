==== BOM -> opaque
﻿SELECT 1;
SELECT 2
==== CRLF everywhere -> read
-- a;
DECLARE x STRING DEFAULT '''two
lines''';
BEGIN
  SELECT 1;
  -- END;
END;
IF TRUE THEN
  SELECT 2;
END IF;

==== CR everywhere -> read
-- a;BEGIN  SELECT 1; # b;  SELECT 2;END;SELECT 3
==== other spaces -> read
SELECT 1; SELECT　2 ;SELECT3
==== a line separator is no space -> opaque
SELECT 1; SELECT 2
==== a zero width space is no space -> read
SELECT​1
==== unicode in names -> read
SELECT * FROM `p.d.Größe 表` AS `ü`; INSERT INTO d.`таблица` SELECT 'ü'; DROP TABLE `d.é`
==== a letter is no identifier -> read
SELECT ü FROM d.t
==== no semicolon between -> read
SELECT 1 SELECT 2 FROM
==== an empty statement -> read
SELECT 1;; SELECT 2
==== semicolons only -> read
;;
==== an END too many -> opaque
SELECT 1; END; SELECT 2
==== an END too few -> opaque
SELECT 1; BEGIN SELECT 2; SELECT 3;
==== IF without THEN -> opaque
IF a SELECT 1; END IF;
==== IF ended by LOOP -> opaque
IF a THEN SELECT 1; END LOOP; SELECT 2
==== ELSE twice -> opaque
IF a THEN SELECT 1; ELSE SELECT 2; ELSE SELECT 3; END IF
==== ELSE in a loop -> opaque
LOOP SELECT 1; ELSE SELECT 2; END LOOP
==== the wrong label -> opaque
x: BEGIN SELECT 1; END y;
==== a label without block -> opaque
x: SELECT 1
==== a label at IF -> opaque
x: IF a THEN SELECT 1; END IF x
==== END with a label that is none -> opaque
BEGIN SELECT 1; END x; SELECT 2
==== REPEAT without UNTIL -> opaque
REPEAT SELECT 1; END REPEAT
==== no semicolon before END -> opaque
BEGIN SELECT 1 END
==== a word that begins nothing -> opaque
VACUUM d.t; SELECT 1
==== two words that begin nothing -> opaque
CREATE WIDGET d.t; SELECT 1
==== legacy names -> read
#legacySQL
SELECT a FROM [project:d.t] WHERE b = 1
==== legacy names as the target -> read
INSERT INTO [project:d.t] SELECT 1
==== dollar quotes are none -> opaque
SELECT $$a;b$$; SELECT 2
==== x quotes are none -> read
SELECT x'ab'
==== u quotes are none -> read
SELECT u&'ab'
==== an unclosed string -> unclosed
SELECT 1;
SELECT 'a; SELECT 2
==== an unclosed string by its line -> unclosed
SELECT 'a
'; SELECT 2
==== an unclosed raw string -> unclosed
SELECT r'\'; SELECT 2
==== an unclosed triple quote -> unclosed
SELECT '''a'' ; SELECT 2
==== an unclosed bytes literal -> unclosed
SELECT rb"""a\"""
==== an unclosed name -> unclosed
SELECT `a; SELECT 2
==== an unclosed comment -> unclosed
SELECT 1; /* SELECT 2
==== an unclosed comment that looks closed -> unclosed
SELECT 1 /*/ SELECT 2
==== a quote that a comment hides -> unclosed
SELECT 1 -- 'a
, 'b
==== a backslash outside -> read
SELECT \; SELECT 2
==== an exclamation mark -> read
SELECT a ! b
==== partitions and columns -> read
LOAD DATA OVERWRITE d.t PARTITIONS (_PARTITIONTIME = TIMESTAMP '2026-01-01') (a INT64) FROM FILES (format = 'CSV', uris = ['x'])
==== a dash in the name of an indexed table -> read
CREATE SEARCH INDEX i ON my-project.d.t (a)
==== a system variable among others -> read
SET (a, @@dataset_id) = (1, 'x')
==== a hint -> read
@{a = 1} SELECT 1
==== EXPLAIN -> opaque
EXPLAIN SELECT 1
==== digits behind a dash -> read
SELECT * FROM my-1p.d.t
==== a model's input -> read
CREATE MODEL d.m INPUT (a INT64) OUTPUT (b INT64) REMOTE WITH CONNECTION `p.us.c` OPTIONS (endpoint = 'x')
==== a dataset called temp -> read
LOAD DATA OVERWRITE temp.orders FROM FILES (format = 'CSV', uris = ['x'])
==== a table called table -> read
LOAD DATA INTO table FROM FILES (format = 'CSV', uris = ['x'])
==== INSERT with a mode -> read
INSERT REPLACE d.t (a) VALUES (1); INSERT OR UPDATE INTO d.t (a) VALUES (1); INSERT IGNORE d.t SELECT 1
==== hints by number and among blocks -> read
@5 SELECT 1; BEGIN @{a = 1, b.c = 'x;y'} INSERT INTO d.t SELECT 1; END; @5 @{a = 1} DELETE d.t WHERE TRUE
==== a hint before a block -> opaque
SELECT 1; @{a = 1} IF TRUE THEN SELECT 1; END IF
==== a column called rename -> read
ALTER TABLE d.t RENAME COLUMN rename TO x; ALTER TABLE d.t ADD COLUMN a STRUCT<b INT64, rename INT64>
==== a name that goes on as none does -> read
DELETE d.t$20260101 WHERE TRUE; UPDATE p:d.t SET a = 1 WHERE TRUE
