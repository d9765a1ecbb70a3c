-- The weekly merge: what the scrapers found goes from staging into production.
--
--   @min_confidence FLOAT64   rows that the scraper trusts less stay in staging
--   @batch_label STRING       written into every row touched, and into the equipment registry
--
-- Merging the same batch again changes no row but the registry's: only a newer row replaces an older one.

DECLARE merge_time TIMESTAMP DEFAULT CURRENT_TIMESTAMP();

MERGE `${PROJECT_ID}.${PROD_DATASET}.dtc_codes_github` AS t
USING (
  SELECT *
  FROM `${PROJECT_ID}.${STAGING_DATASET}.dtc_codes_github`
  WHERE confidence >= @min_confidence
) AS s
ON t.code = s.code
WHEN MATCHED AND s.ingested_at > t.ingested_at THEN
  UPDATE SET
    description = s.description,
    severity = s.severity,
    is_generic = s.is_generic,
    makes = s.makes,
    typical_repair_cost = s.typical_repair_cost,
    labour_hours = s.labour_hours,
    source = s.source,
    first_documented = s.first_documented,
    confidence = s.confidence,
    ingested_at = s.ingested_at,
    batch_label = @batch_label,
    merged_at = merge_time
WHEN NOT MATCHED THEN
  INSERT (
    code, code_number, code_system, description, severity, is_generic, makes, typical_repair_cost,
    labour_hours, source, first_documented, confidence, ingested_at, batch_label, merged_at
  )
  VALUES (
    s.code, s.code_number, s.code_system, s.description, s.severity, s.is_generic, s.makes,
    s.typical_repair_cost, s.labour_hours, s.source, s.first_documented, s.confidence, s.ingested_at,
    @batch_label, merge_time
  );

-- A post scraped twice is in staging twice: the last look at it counts.
MERGE `${PROJECT_ID}.${PROD_DATASET}.reddit_diagnostic_posts` AS t
USING (
  SELECT *
  FROM `${PROJECT_ID}.${STAGING_DATASET}.reddit_diagnostic_posts`
  WHERE posted_at >= TIMESTAMP '2024-10-01 00:00:00+00' AND confidence >= @min_confidence
  QUALIFY ROW_NUMBER() OVER (PARTITION BY post_id ORDER BY ingested_at DESC) = 1
) AS s
ON t.post_id = s.post_id
WHEN MATCHED AND s.ingested_at > t.ingested_at THEN
  UPDATE SET
    title = s.title,
    body = s.body,
    vehicle = s.vehicle,
    dtc_codes = s.dtc_codes,
    top_comments = s.top_comments,
    score = s.score,
    upvote_ratio = s.upvote_ratio,
    is_solved = s.is_solved,
    quoted_cost = s.quoted_cost,
    confidence = s.confidence,
    ingested_at = s.ingested_at,
    batch_label = @batch_label,
    merged_at = merge_time
WHEN NOT MATCHED THEN
  INSERT (
    post_id, subreddit, posted_at, title, body, vehicle, dtc_codes, top_comments, score, upvote_ratio,
    is_solved, quoted_cost, confidence, ingested_at, batch_label, merged_at
  )
  VALUES (
    s.post_id, s.subreddit, s.posted_at, s.title, s.body, s.vehicle, s.dtc_codes, s.top_comments,
    s.score, s.upvote_ratio, s.is_solved, s.quoted_cost, s.confidence, s.ingested_at, @batch_label,
    merge_time
  );

MERGE `${PROJECT_ID}.${PROD_DATASET}.youtube_repair_videos` AS t
USING (
  SELECT *
  FROM `${PROJECT_ID}.${STAGING_DATASET}.youtube_repair_videos`
  WHERE confidence >= @min_confidence
) AS s
ON t.video_id = s.video_id
WHEN MATCHED AND s.ingested_at > t.ingested_at THEN
  UPDATE SET
    channel = s.channel,
    title = s.title,
    dtc_codes = s.dtc_codes,
    parts = s.parts,
    duration_seconds = s.duration_seconds,
    views = s.views,
    like_ratio = s.like_ratio,
    has_transcript = s.has_transcript,
    confidence = s.confidence,
    ingested_at = s.ingested_at,
    batch_label = @batch_label,
    merged_at = merge_time
WHEN NOT MATCHED THEN
  INSERT (
    video_id, channel, title, published_on, make, dtc_codes, parts, duration_seconds, views, like_ratio,
    has_transcript, confidence, ingested_at, batch_label, merged_at
  )
  VALUES (
    s.video_id, s.channel, s.title, s.published_on, s.make, s.dtc_codes, s.parts, s.duration_seconds,
    s.views, s.like_ratio, s.has_transcript, s.confidence, s.ingested_at, @batch_label, merge_time
  );

UPDATE `${PROJECT_ID}.${PROD_DATASET}.equipment_registry`
SET last_merge_label = @batch_label, last_merge_at = merge_time
WHERE is_active;
