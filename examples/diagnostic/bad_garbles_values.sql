-- Goes wrong in the values alone: makes were to be written one way, and now are written in a way that nothing
-- else knows. Row counts and schemas stay as they were: only a check that looks at contents tells
-- (checks/unknown_makes.sql).
--
--   @batch_label STRING

UPDATE `${PROJECT_ID}.${PROD_DATASET}.youtube_repair_videos`
SET make = UPPER(make), batch_label = @batch_label
WHERE published_on >= DATE '2019-01-01';
