-- Goes wrong by losing a column: costs were to move to a table of their own, and that table never came.
-- No row is lost, every statement succeeds: only the schema tells.
--
--   @batch_label STRING

ALTER TABLE `${PROJECT_ID}.${PROD_DATASET}.dtc_codes_github`
DROP COLUMN typical_repair_cost;

UPDATE `${PROJECT_ID}.${PROD_DATASET}.equipment_registry`
SET last_merge_label = @batch_label
WHERE is_active;
