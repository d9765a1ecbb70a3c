==== comment 1
-- only a comment
==== comment 2
# only a comment
==== comment 3
/* only; a comment */
==== comment 4

==== comment 5
 
	
==== comment 6
-- a;
SELECT 1 -- b;
; -- c;
SELECT 2 -- d;
==== comment 7
# a;
SELECT 1 # b;
; # c;
SELECT 2 # d;
==== comment 8
/* a; */ SELECT /* b; */ 1 /* c; */; /* d; */ SELECT 2 /* e; */
==== comment 9
/* /* ; */ SELECT 1; SELECT /***/ 2 /****/ /**/
==== comment 10
SELECT 1 -- it's; "open `
; SELECT 2 # it's; "open `
; SELECT 3 /* it's; "open ` */
==== comment 11
SELECT 1--2;
; SELECT 3-- 4
-- 5
==== comment 12
SELECT 1 -- a; SELECT 2 # b; SELECT 3
==== comment 13
-- a
SELECT 1
-- b;
; # c
SELECT 2

==== comment 14
/* BEGIN */ BEGIN /* ; */ SELECT 1; /* END; */ END /* ; */;
==== comment 15
SELECT /* -- */ 1 -- /*
, 2 /* # */, 3 # /*

==== comment 16
x /* a */ : -- b
 BEGIN # c
 END /* d */ x -- e
==== comment 17
CREATE /* a */ OR -- b
 REPLACE # c
 TABLE /* d */ d /* e */ . /* f */ t /* g */ AS /* h */ SELECT 1
==== comment 18
SELECT * FROM d /* a */ . -- b
 t WHERE 1 - -1 = 2
==== comment 19
IF /* THEN */ TRUE -- THEN
 THEN # ELSE
 SELECT 1; /* END IF */ END /* x */ IF /* y */;
==== comment 20
SELECT 1 /* a **/; SELECT 2 /*** b ***/ -- */
==== comment 21
SELECT 10 / 2 * 3, 4 /*/ 5 /*/ , 6
