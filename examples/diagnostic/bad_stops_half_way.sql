-- Goes wrong by stopping half way. The old trouble codes are gone when the merge of the posts fails, because
-- staging holds some posts twice and nothing here keeps the last look only; the new codes never arrive.
-- A dry run finds nothing: "must match at most one source row" is known only when the rows are read.
--
--   @min_confidence FLOAT64, @batch_label STRING

DELETE FROM `${PROJECT_ID}.${PROD_DATASET}.dtc_codes_github`
WHERE batch_label IS NULL OR batch_label != @batch_label;

MERGE `${PROJECT_ID}.${PROD_DATASET}.reddit_diagnostic_posts` AS t
USING (
  SELECT *
  FROM `${PROJECT_ID}.${STAGING_DATASET}.reddit_diagnostic_posts`
  WHERE posted_at >= TIMESTAMP '2024-10-01 00:00:00+00' AND confidence >= @min_confidence
) AS s
ON t.post_id = s.post_id
WHEN MATCHED THEN
  UPDATE SET
    score = s.score,
    upvote_ratio = s.upvote_ratio,
    is_solved = s.is_solved,
    ingested_at = s.ingested_at,
    batch_label = @batch_label;

INSERT INTO `${PROJECT_ID}.${PROD_DATASET}.dtc_codes_github` (
  code, code_number, code_system, description, severity, is_generic, makes, typical_repair_cost,
  labour_hours, source, first_documented, confidence, ingested_at, batch_label, merged_at
)
SELECT
  code, code_number, code_system, description, severity, is_generic, makes, typical_repair_cost,
  labour_hours, source, first_documented, confidence, ingested_at, @batch_label, CURRENT_TIMESTAMP()
FROM `${PROJECT_ID}.${STAGING_DATASET}.dtc_codes_github`
WHERE confidence >= @min_confidence;
