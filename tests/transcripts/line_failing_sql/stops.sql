-- The first statement changes a table, the second is an error that no dry run can see.
UPDATE `${D}.a` SET name = 'changed' WHERE TRUE;
SELECT ERROR('half way');
