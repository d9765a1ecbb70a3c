-- Goes wrong by emptying a table: truncate and load again, but the load compares a confidence from 0 to 1
-- with a percentage, so nothing comes back. Every statement succeeds.
--
--   @min_confidence FLOAT64, @batch_label STRING

TRUNCATE TABLE `${PROJECT_ID}.${PROD_DATASET}.youtube_repair_videos`;

INSERT INTO `${PROJECT_ID}.${PROD_DATASET}.youtube_repair_videos` (
  video_id, channel, title, published_on, make, dtc_codes, parts, duration_seconds, views, like_ratio,
  has_transcript, confidence, ingested_at, batch_label, merged_at
)
SELECT
  video_id, channel, title, published_on, make, dtc_codes, parts, duration_seconds, views, like_ratio,
  has_transcript, confidence, ingested_at, @batch_label, CURRENT_TIMESTAMP()
FROM `${PROJECT_ID}.${STAGING_DATASET}.youtube_repair_videos`
WHERE confidence >= @min_confidence * 100;
