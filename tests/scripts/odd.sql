==== BOM
﻿SELECT 1;
SELECT 2
==== CRLF everywhere
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

==== CR everywhere
-- a;BEGIN  SELECT 1; # b;  SELECT 2;END;SELECT 3
==== other spaces
SELECT 1; SELECT　2 ;SELECT3
==== a line separator is no space
SELECT 1; SELECT 2
==== a zero width space is no space
SELECT​1
==== unicode in names
SELECT * FROM `p.d.Größe 表` AS `ü`; INSERT INTO d.`таблица` SELECT 'ü'; DROP TABLE `d.é`
==== a letter is no identifier
SELECT ü FROM d.t
==== no semicolon between
SELECT 1 SELECT 2 FROM
==== an empty statement
SELECT 1;; SELECT 2
==== semicolons only
;;
==== an END too many
SELECT 1; END; SELECT 2
==== an END too few
SELECT 1; BEGIN SELECT 2; SELECT 3;
==== IF without THEN
IF a SELECT 1; END IF;
==== IF ended by LOOP
IF a THEN SELECT 1; END LOOP; SELECT 2
==== ELSE twice
IF a THEN SELECT 1; ELSE SELECT 2; ELSE SELECT 3; END IF
==== ELSE in a loop
LOOP SELECT 1; ELSE SELECT 2; END LOOP
==== the wrong label
x: BEGIN SELECT 1; END y;
==== a label without block
x: SELECT 1
==== a label at IF
x: IF a THEN SELECT 1; END IF x
==== END with a label that is none
BEGIN SELECT 1; END x; SELECT 2
==== REPEAT without UNTIL
REPEAT SELECT 1; END REPEAT
==== no semicolon before END
BEGIN SELECT 1 END
==== a word that begins nothing
VACUUM d.t; SELECT 1
==== two words that begin nothing
CREATE WIDGET d.t; SELECT 1
==== legacy names
#legacySQL
SELECT a FROM [project:d.t] WHERE b = 1
==== legacy names as the target
INSERT INTO [project:d.t] SELECT 1
==== dollar quotes are none
SELECT $$a;b$$; SELECT 2
==== x quotes are none
SELECT x'ab'
==== u quotes are none
SELECT u&'ab'
==== an unclosed string
SELECT 1;
SELECT 'a; SELECT 2
==== an unclosed string by its line
SELECT 'a
'; SELECT 2
==== an unclosed raw string
SELECT r'\'; SELECT 2
==== an unclosed triple quote
SELECT '''a'' ; SELECT 2
==== an unclosed bytes literal
SELECT rb"""a\"""
==== an unclosed name
SELECT `a; SELECT 2
==== an unclosed comment
SELECT 1; /* SELECT 2
==== an unclosed comment that looks closed
SELECT 1 /*/ SELECT 2
==== a quote that a comment hides
SELECT 1 -- 'a
, 'b
==== a backslash outside
SELECT \; SELECT 2
==== an exclamation mark
SELECT a ! b
==== partitions and columns
LOAD DATA OVERWRITE d.t PARTITIONS (_PARTITIONTIME = TIMESTAMP '2026-01-01') (a INT64) FROM FILES (format = 'CSV', uris = ['x'])
==== a dash in the name of an indexed table
CREATE SEARCH INDEX i ON my-project.d.t (a)
==== a system variable among others
SET (a, @@dataset_id) = (1, 'x')
==== a hint
@{a = 1} SELECT 1
==== EXPLAIN
EXPLAIN SELECT 1
==== digits behind a dash
SELECT * FROM my-1p.d.t
==== a model's input
CREATE MODEL d.m INPUT (a INT64) OUTPUT (b INT64) REMOTE WITH CONNECTION `p.us.c` OPTIONS (endpoint = 'x')
