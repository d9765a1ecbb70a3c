-- Goes wrong by deleting too much. It was to remove posts that are BOTH doubtful AND unsolved; it says OR.
-- Every statement succeeds: only the row count tells.
--
--   @min_confidence FLOAT64, @batch_label STRING

DELETE FROM `${PROJECT_ID}.${PROD_DATASET}.reddit_diagnostic_posts`
WHERE posted_at >= TIMESTAMP '2024-01-01 00:00:00+00'
  AND (confidence < @min_confidence OR is_solved IS NOT TRUE);

UPDATE `${PROJECT_ID}.${PROD_DATASET}.equipment_registry`
SET last_merge_label = @batch_label
WHERE is_active;
