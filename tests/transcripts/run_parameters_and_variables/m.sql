-- $${NOT_A_VARIABLE}
UPDATE `${PROJECT_ID}.${D}.${TABLE}` SET name = @new WHERE id <= @low AND name IN UNNEST(@names);
