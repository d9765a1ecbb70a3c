==== quoting 1
SELECT 'it\'s; ok', 'a', ''; SELECT 2
==== quoting 2
SELECT "it\"s; ok", "", "it's"; SELECT 2
==== quoting 3
SELECT r'\'; SELECT 1; --', r'\\'; SELECT 2
==== quoting 4
SELECT R'''a;'b''c\''''; SELECT 2
==== quoting 5
SELECT """a;"b""c\"""" ; SELECT 2
==== quoting 6
SELECT rb'\'', bR"\"", Rb'''x;y''', BR"""z;"""; SELECT 2
==== quoting 7
SELECT b'\x00;', B"\377"; SELECT 2
==== quoting 8
SELECT '''two
lines;
''', """three
;
lines"""; SELECT 2
==== quoting 9
SELECT '\\'; SELECT '\\\\'; SELECT '\\\''; SELECT 3
==== quoting 10
SELECT '\u00fc\U0001F600\x41\101\n\t\a\b\f\r\v\?'; SELECT 2
==== quoting 11
SELECT 'a' 'b' "c"; SELECT r'a' /* ; */ r'b'
==== quoting 12
SELECT '--', '#', '/*', '*/', '`', '"'; SELECT "--", "#", "/*", "*/", "`", "'"
==== quoting 13
SELECT `a;b`, `c'd`, `e"f`, `g--h`, `i/*j`, `k#l` FROM d.t; SELECT 2
==== quoting 14
SELECT `a\`b;`, `c\\`; SELECT 2
==== quoting 15
SELECT 'BEGIN', "END IF;", `END`, `BEGIN`, `;` FROM d.t; SELECT 2
==== quoting 16
SELECT 'ü;ß', 'é', '日本;語', '🦀;', " ", 'a b' -- ü; ß
; SELECT 'ü'
==== quoting 17
SELECT r'a\
b'; SELECT 2
==== quoting 18
INSERT INTO d.t VALUES ('a;b', "c;d", r'e;\f', b'g;h', '''i;
j''')
==== quoting 19
SELECT '$${x}', '{;}', '[;]', '(;)' ; SELECT ')' ; SELECT '('
==== quoting 20
SELECT r"\";", r'\\\';', 1; SELECT 2
==== quoting 21
SELECT ''';''', """;""", '''''' , """""", '''a\'''b'''
==== quoting 22
SELECT b'''
;''' , RB'\;' ; SELECT rb"""a\"""b"""
