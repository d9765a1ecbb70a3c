-- The customer's case: three staging tables that scrapers fill, their twins in production, and the
-- equipment registry. The same rows at every run: no clock, no chance.
--
--   bq-run --unprotected setup.sql        with PROJECT_ID, STAGING_DATASET and PROD_DATASET set
--
-- It drops the seven tables first: for a scratch project or the local BigQuery, never for real data.

CREATE SCHEMA IF NOT EXISTS `${PROJECT_ID}.${STAGING_DATASET}`
OPTIONS (location = 'US', description = 'What the scrapers found, before it is trusted');

CREATE SCHEMA IF NOT EXISTS `${PROJECT_ID}.${PROD_DATASET}`
OPTIONS (location = 'US', description = 'What the diagnostic reports are made from');

-- Staging: trouble codes ------------------------------------------------------------------------------

DROP TABLE IF EXISTS `${PROJECT_ID}.${STAGING_DATASET}.dtc_codes_github`;

CREATE TABLE `${PROJECT_ID}.${STAGING_DATASET}.dtc_codes_github` (
  code STRING NOT NULL OPTIONS (description = 'Diagnostic trouble code, SAE J2012, such as P0301'),
  code_number INT64 NOT NULL OPTIONS (description = 'The four digits of the code'),
  code_system STRING NOT NULL OPTIONS (description = 'Powertrain, Body, Chassis or Network'),
  description STRING NOT NULL OPTIONS (description = 'What the code says, in plain words'),
  severity STRING OPTIONS (description = 'low, medium, high or critical'),
  is_generic BOOL NOT NULL OPTIONS (description = 'Defined by SAE rather than by a maker'),
  makes ARRAY<STRING> OPTIONS (description = 'Makes the code was reported for'),
  typical_repair_cost NUMERIC OPTIONS (description = 'US dollars, parts and labour'),
  labour_hours FLOAT64 OPTIONS (description = 'Hours a workshop books for it'),
  source STRUCT<repository STRING, path STRING, commit_sha STRING>
    OPTIONS (description = 'The file on GitHub it was read from'),
  first_documented DATE,
  confidence FLOAT64 NOT NULL OPTIONS (description = 'From 0 to 1: how far the scraper trusts the row'),
  ingested_at TIMESTAMP NOT NULL OPTIONS (description = 'When the scraper wrote the row')
)
PARTITION BY RANGE_BUCKET(code_number, GENERATE_ARRAY(0, 1200, 100))
CLUSTER BY code_system, code
OPTIONS (
  description = 'Trouble codes collected from public GitHub repositories',
  labels = [('team', 'diagnostics'), ('level', 'high')]
);

INSERT INTO `${PROJECT_ID}.${STAGING_DATASET}.dtc_codes_github` (
  code, code_number, code_system, description, severity, is_generic, makes, typical_repair_cost,
  labour_hours, source, first_documented, confidence, ingested_at
)
WITH numbered AS (
  SELECT
    n,
    CASE WHEN n < 700 THEN 'P' WHEN n < 800 THEN 'B' WHEN n < 900 THEN 'C' ELSE 'U' END AS letter,
    CASE WHEN n < 700 THEN 100 + n WHEN n < 800 THEN 300 + n ELSE n - 800 END AS code_number
  FROM UNNEST(GENERATE_ARRAY(0, 999)) AS n
),
coded AS (
  SELECT n, letter, code_number, CONCAT(letter, LPAD(CAST(code_number AS STRING), 4, '0')) AS code
  FROM numbered
),
areas AS (
  SELECT area, pos
  FROM UNNEST([
    'Fuel and air metering', 'Fuel injector', 'Ignition system', 'Emission control',
    'Vehicle speed and idle control', 'Control module output', 'Transmission',
    'Body electrics', 'Chassis', 'Network'
  ]) AS area WITH OFFSET AS pos
),
faults AS (
  SELECT fault, pos
  FROM UNNEST([
    'malfunction', 'range or performance', 'low input', 'high input', 'intermittent', 'open',
    'short to ground', 'short to battery', 'slow response', 'no signal'
  ]) AS fault WITH OFFSET AS pos
),
known AS (
  SELECT entry.known_code, entry.meaning
  FROM UNNEST([
    STRUCT('P0171' AS known_code, 'System too lean (bank 1)' AS meaning),
    STRUCT('P0172' AS known_code, 'System too rich (bank 1)' AS meaning),
    STRUCT('P0174' AS known_code, 'System too lean (bank 2)' AS meaning),
    STRUCT('P0300' AS known_code, 'Random or multiple cylinder misfire detected' AS meaning),
    STRUCT('P0420' AS known_code, 'Catalyst system efficiency below threshold (bank 1)' AS meaning),
    STRUCT('P0430' AS known_code, 'Catalyst system efficiency below threshold (bank 2)' AS meaning),
    STRUCT('P0442' AS known_code, 'Evaporative emission system leak detected (small leak)' AS meaning),
    STRUCT('P0455' AS known_code, 'Evaporative emission system leak detected (large leak)' AS meaning),
    STRUCT('P0500' AS known_code, 'Vehicle speed sensor malfunction' AS meaning),
    STRUCT('P0700' AS known_code, 'Transmission control system malfunction' AS meaning),
    STRUCT('U0100' AS known_code, 'Lost communication with engine control module' AS meaning)
  ]) AS entry
)
SELECT
  coded.code,
  coded.code_number,
  CASE coded.letter WHEN 'P' THEN 'Powertrain' WHEN 'B' THEN 'Body' WHEN 'C' THEN 'Chassis' ELSE 'Network' END,
  CASE
    WHEN known.meaning IS NOT NULL THEN known.meaning
    WHEN coded.letter = 'P' AND coded.code_number BETWEEN 301 AND 312
      THEN CONCAT('Cylinder ', CAST(coded.code_number - 300 AS STRING), ' misfire detected')
    ELSE CONCAT(areas.area, ': circuit ', CAST(DIV(MOD(coded.code_number, 100), 10) + 1 AS STRING), ' ', faults.fault)
  END,
  CASE
    WHEN coded.letter = 'P' AND coded.code_number BETWEEN 300 AND 312 THEN 'critical'
    WHEN MOD(coded.n, 9) = 4 THEN NULL
    WHEN MOD(coded.n, 4) = 0 THEN 'high'
    WHEN MOD(coded.n, 4) = 1 THEN 'medium'
    ELSE 'low'
  END,
  coded.letter != 'B',
  CASE MOD(coded.n, 5)
    WHEN 0 THEN ['Toyota', 'Honda']
    WHEN 1 THEN ['Ford']
    WHEN 2 THEN ['Chevrolet', 'Ram', 'Jeep']
    WHEN 3 THEN ['Volkswagen', 'BMW']
    ELSE ['Nissan', 'Subaru']
  END,
  CAST(4999 + MOD(coded.n * 7919, 160000) AS NUMERIC) / 100,
  (5 + MOD(coded.n * 7, 60)) / 10,
  STRUCT(
    CASE MOD(coded.n, 3) WHEN 0 THEN 'obd-codes' WHEN 1 THEN 'dtc-database' ELSE 'car-trouble-codes' END AS repository,
    CONCAT('codes/', LOWER(coded.letter), '.csv') AS path,
    TO_HEX(SHA1(CONCAT('commit ', CAST(DIV(coded.n, 100) AS STRING)))) AS commit_sha
  ),
  DATE_ADD(DATE '1996-01-01', INTERVAL MOD(coded.n * 53, 9000) DAY),
  (50 + MOD(coded.n * 37, 50)) / 100,
  TIMESTAMP_ADD(TIMESTAMP '2025-10-01 02:00:00+00', INTERVAL coded.n SECOND)
FROM coded
JOIN areas
  ON areas.pos = CASE coded.letter
    WHEN 'P' THEN DIV(coded.code_number, 100) - 1 WHEN 'B' THEN 7 WHEN 'C' THEN 8 ELSE 9 END
JOIN faults ON faults.pos = MOD(coded.code_number, 10)
LEFT JOIN known ON known.known_code = coded.code;

-- Staging: forum posts. 11,400 posts, 62 of them scraped twice: 11,462 rows ---------------------------

DROP TABLE IF EXISTS `${PROJECT_ID}.${STAGING_DATASET}.reddit_diagnostic_posts`;

CREATE TABLE `${PROJECT_ID}.${STAGING_DATASET}.reddit_diagnostic_posts` (
  post_id STRING NOT NULL OPTIONS (description = 'Reddit fullname; a post scraped twice is here twice'),
  subreddit STRING NOT NULL,
  posted_at TIMESTAMP NOT NULL OPTIONS (description = 'When the author posted it'),
  title STRING NOT NULL,
  body STRING OPTIONS (description = 'Markdown; NULL for a post that is only a picture'),
  vehicle STRUCT<make STRING, model STRING, model_year INT64> OPTIONS (description = 'As read from the title'),
  dtc_codes ARRAY<STRING> OPTIONS (description = 'Trouble codes that the post names'),
  top_comments ARRAY<STRUCT<author_hash STRING, score INT64, body STRING>>
    OPTIONS (description = 'At most two, best first; authors hashed'),
  score INT64 OPTIONS (description = 'Votes up less votes down'),
  upvote_ratio FLOAT64,
  is_solved BOOL OPTIONS (description = 'The author said what fixed it'),
  quoted_cost NUMERIC OPTIONS (description = 'US dollars, what a workshop asked'),
  confidence FLOAT64 NOT NULL OPTIONS (description = 'From 0 to 1: how far the scraper trusts the row'),
  ingested_at TIMESTAMP NOT NULL OPTIONS (description = 'When the scraper wrote the row')
)
PARTITION BY TIMESTAMP_TRUNC(posted_at, DAY)
CLUSTER BY subreddit, post_id
OPTIONS (
  description = 'Posts from car repair subreddits that describe a fault',
  labels = [('team', 'diagnostics'), ('level', 'critical')]
);

INSERT INTO `${PROJECT_ID}.${STAGING_DATASET}.reddit_diagnostic_posts` (
  post_id, subreddit, posted_at, title, body, vehicle, dtc_codes, top_comments, score, upvote_ratio,
  is_solved, quoted_cost, confidence, ingested_at
)
WITH scraped AS (
  SELECT row_number, IF(row_number < 11400, row_number, (row_number - 11400) * 180) AS n, row_number >= 11400 AS again
  FROM UNNEST(GENERATE_ARRAY(0, 11461)) AS row_number
),
fleet AS (
  SELECT car.pos, car.make, car.model
  FROM UNNEST([
    STRUCT(0 AS pos, 'Toyota' AS make, 'Camry' AS model),
    STRUCT(1 AS pos, 'Honda' AS make, 'Civic' AS model),
    STRUCT(2 AS pos, 'Ford' AS make, 'F-150' AS model),
    STRUCT(3 AS pos, 'Chevrolet' AS make, 'Silverado' AS model),
    STRUCT(4 AS pos, 'Subaru' AS make, 'Outback' AS model),
    STRUCT(5 AS pos, 'Nissan' AS make, 'Altima' AS model),
    STRUCT(6 AS pos, 'Volkswagen' AS make, 'Jetta' AS model),
    STRUCT(7 AS pos, 'BMW' AS make, '328i' AS model),
    STRUCT(8 AS pos, 'Jeep' AS make, 'Wrangler' AS model),
    STRUCT(9 AS pos, 'Ram' AS make, '1500' AS model),
    STRUCT(10 AS pos, 'Honda' AS make, 'CR-V' AS model),
    STRUCT(11 AS pos, 'Ford' AS make, 'Escape' AS model),
    STRUCT(12 AS pos, 'Toyota' AS make, 'Tacoma' AS model)
  ]) AS car
),
complaints AS (
  SELECT complaint, pos
  FROM UNNEST([
    'rough idle when cold', 'loss of power uphill', 'check engine light comes and goes',
    'will not start after rain', 'shudders between 40 and 50 mph', 'smells of fuel',
    'stalls at traffic lights'
  ]) AS complaint WITH OFFSET AS pos
)
SELECT
  CONCAT('t3_1f', LPAD(CAST(10000 + scraped.n AS STRING), 5, '0')),
  CASE MOD(scraped.n, 4)
    WHEN 0 THEN 'MechanicAdvice' WHEN 1 THEN 'AskMechanics' WHEN 2 THEN 'Cartalk' ELSE 'autorepair'
  END,
  TIMESTAMP_ADD(TIMESTAMP '2024-10-01 00:00:00+00', INTERVAL scraped.n * 46 MINUTE),
  CONCAT(
    CAST(1998 + MOD(scraped.n * 11, 27) AS STRING), ' ', fleet.make, ' ', fleet.model, ', P',
    LPAD(CAST(100 + MOD(scraped.n * 29, 700) AS STRING), 4, '0'), ', ', complaints.complaint
  ),
  IF(
    MOD(scraped.n, 9) = 0, NULL,
    CONCAT(
      'My ', fleet.make, ' ', fleet.model, ' ', complaints.complaint, ', ',
      CAST(30 + MOD(scraped.n * 17, 220) AS STRING), ' thousand miles on it. What should I look at first?'
    )
  ),
  STRUCT(fleet.make AS make, fleet.model AS model, 1998 + MOD(scraped.n * 11, 27) AS model_year),
  IF(
    MOD(scraped.n, 5) = 0,
    [
      CONCAT('P', LPAD(CAST(100 + MOD(scraped.n * 29, 700) AS STRING), 4, '0')),
      CONCAT('P', LPAD(CAST(100 + MOD(scraped.n * 31 + 7, 700) AS STRING), 4, '0'))
    ],
    [CONCAT('P', LPAD(CAST(100 + MOD(scraped.n * 29, 700) AS STRING), 4, '0'))]
  ),
  [
    STRUCT(
      TO_HEX(MD5(CONCAT('author ', CAST(MOD(scraped.n * 13, 4001) AS STRING)))) AS author_hash,
      MOD(scraped.n * 19, 240) AS score,
      'Read the freeze frame data before you buy parts.' AS body
    ),
    STRUCT(
      TO_HEX(MD5(CONCAT('author ', CAST(MOD(scraped.n * 23, 4001) AS STRING)))) AS author_hash,
      MOD(scraped.n * 5, 60) AS score,
      'Swap the coil with its neighbour and see whether the code moves.' AS body
    )
  ],
  MOD(scraped.n * 37, 900) + IF(scraped.again, 25, 0),
  (55 + MOD(scraped.n * 3, 45)) / 100,
  MOD(scraped.n, 3) = 0,
  IF(MOD(scraped.n, 6) = 1, NULL, CAST(6000 + MOD(scraped.n * 7919, 280000) AS NUMERIC) / 100),
  (50 + MOD(scraped.n * 37, 50)) / 100,
  TIMESTAMP_ADD(TIMESTAMP '2025-10-01 03:00:00+00', INTERVAL scraped.row_number SECOND)
FROM scraped
JOIN fleet ON fleet.pos = MOD(scraped.n, 13)
JOIN complaints ON complaints.pos = MOD(scraped.n, 7);

-- Staging: repair videos ------------------------------------------------------------------------------

DROP TABLE IF EXISTS `${PROJECT_ID}.${STAGING_DATASET}.youtube_repair_videos`;

CREATE TABLE `${PROJECT_ID}.${STAGING_DATASET}.youtube_repair_videos` (
  video_id STRING NOT NULL OPTIONS (description = 'The eleven characters of the address'),
  channel STRUCT<id STRING, name STRING> OPTIONS (description = 'Who published it'),
  title STRING NOT NULL,
  published_on DATE NOT NULL,
  make STRING NOT NULL OPTIONS (description = 'Make of the car in the video'),
  dtc_codes ARRAY<STRING> OPTIONS (description = 'Trouble codes that the video is about'),
  parts ARRAY<STRUCT<name STRING, price NUMERIC>> OPTIONS (description = 'Parts the video replaces, US dollars'),
  duration_seconds INT64,
  views INT64,
  like_ratio FLOAT64 OPTIONS (description = 'Likes to likes and dislikes'),
  has_transcript BOOL NOT NULL,
  confidence FLOAT64 NOT NULL OPTIONS (description = 'From 0 to 1: how far the scraper trusts the row'),
  ingested_at TIMESTAMP NOT NULL OPTIONS (description = 'When the scraper wrote the row')
)
PARTITION BY DATE_TRUNC(published_on, MONTH)
CLUSTER BY make
OPTIONS (
  description = 'Repair videos collected from YouTube',
  labels = [('team', 'diagnostics'), ('level', 'high')]
);

INSERT INTO `${PROJECT_ID}.${STAGING_DATASET}.youtube_repair_videos` (
  video_id, channel, title, published_on, make, dtc_codes, parts, duration_seconds, views, like_ratio,
  has_transcript, confidence, ingested_at
)
WITH fleet AS (
  SELECT make, pos
  FROM UNNEST([
    'Toyota', 'Honda', 'Ford', 'Chevrolet', 'Subaru', 'Nissan', 'Volkswagen', 'BMW', 'Jeep', 'Ram'
  ]) AS make WITH OFFSET AS pos
),
jobs AS (
  SELECT job.pos, job.name, job.part
  FROM UNNEST([
    STRUCT(0 AS pos, 'ignition coil replacement' AS name, 'Ignition coil' AS part),
    STRUCT(1 AS pos, 'upstream oxygen sensor replacement' AS name, 'Oxygen sensor' AS part),
    STRUCT(2 AS pos, 'purge valve test and replacement' AS name, 'Purge valve' AS part),
    STRUCT(3 AS pos, 'throttle body cleaning' AS name, 'Throttle body gasket' AS part),
    STRUCT(4 AS pos, 'catalytic converter diagnosis' AS name, 'Catalytic converter' AS part),
    STRUCT(5 AS pos, 'mass air flow sensor cleaning' AS name, 'Mass air flow sensor' AS part),
    STRUCT(6 AS pos, 'crankshaft position sensor replacement' AS name, 'Crankshaft position sensor' AS part)
  ]) AS job
)
SELECT
  TRANSLATE(SUBSTR(TO_BASE64(SHA1(CONCAT('video ', CAST(n AS STRING)))), 1, 11), '+/', '-_'),
  STRUCT(
    CONCAT('UC', SUBSTR(TO_HEX(SHA1(CONCAT('channel ', CAST(MOD(n, 40) AS STRING)))), 1, 22)) AS id,
    CONCAT('Bay ', CAST(MOD(n, 40) + 1 AS STRING), ' Garage') AS name
  ),
  CONCAT(fleet.make, ' P', LPAD(CAST(100 + MOD(n * 43, 700) AS STRING), 4, '0'), ': ', jobs.name),
  DATE_ADD(DATE '2020-01-01', INTERVAL n * 2 DAY),
  fleet.make,
  [CONCAT('P', LPAD(CAST(100 + MOD(n * 43, 700) AS STRING), 4, '0'))],
  [
    STRUCT(jobs.part AS name, CAST(1499 + MOD(n * 7919, 40000) AS NUMERIC) / 100 AS price),
    STRUCT('Dielectric grease' AS name, NUMERIC '6.49' AS price)
  ],
  180 + MOD(n * 61, 2400),
  1000 + MOD(n * 7907, 900000),
  (80 + MOD(n * 7, 20)) / 100,
  MOD(n, 8) != 0,
  (50 + MOD(n * 37, 50)) / 100,
  TIMESTAMP_ADD(TIMESTAMP '2025-10-01 06:30:00+00', INTERVAL n SECOND)
FROM UNNEST(GENERATE_ARRAY(0, 999)) AS n
JOIN fleet ON fleet.pos = MOD(n, 10)
JOIN jobs ON jobs.pos = MOD(n, 7);

-- Production: trouble codes. 923 of the staged ones as of June, 17 that staging lacks: 940 ------------

DROP TABLE IF EXISTS `${PROJECT_ID}.${PROD_DATASET}.dtc_codes_github`;

CREATE TABLE `${PROJECT_ID}.${PROD_DATASET}.dtc_codes_github` (
  code STRING NOT NULL OPTIONS (description = 'Diagnostic trouble code, SAE J2012, such as P0301; unique'),
  code_number INT64 NOT NULL OPTIONS (description = 'The four digits of the code'),
  code_system STRING NOT NULL OPTIONS (description = 'Powertrain, Body, Chassis or Network'),
  description STRING NOT NULL OPTIONS (description = 'What the code says, in plain words'),
  severity STRING OPTIONS (description = 'low, medium, high or critical'),
  is_generic BOOL NOT NULL OPTIONS (description = 'Defined by SAE rather than by a maker'),
  makes ARRAY<STRING> OPTIONS (description = 'Makes the code was reported for'),
  typical_repair_cost NUMERIC OPTIONS (description = 'US dollars, parts and labour'),
  labour_hours FLOAT64 OPTIONS (description = 'Hours a workshop books for it'),
  source STRUCT<repository STRING, path STRING, commit_sha STRING>
    OPTIONS (description = 'The file on GitHub it was read from'),
  first_documented DATE,
  confidence FLOAT64 NOT NULL OPTIONS (description = 'From 0 to 1: how far the scraper trusts the row'),
  ingested_at TIMESTAMP NOT NULL OPTIONS (description = 'When the scraper wrote the row'),
  batch_label STRING OPTIONS (description = 'The merge that last wrote the row'),
  merged_at TIMESTAMP OPTIONS (description = 'When that merge ran')
)
PARTITION BY RANGE_BUCKET(code_number, GENERATE_ARRAY(0, 1200, 100))
CLUSTER BY code_system, code
OPTIONS (
  description = 'Trouble codes that reports are made from',
  labels = [('team', 'diagnostics'), ('level', 'high')]
);

INSERT INTO `${PROJECT_ID}.${PROD_DATASET}.dtc_codes_github` (
  code, code_number, code_system, description, severity, is_generic, makes, typical_repair_cost,
  labour_hours, source, first_documented, confidence, ingested_at, batch_label, merged_at
)
SELECT
  code, code_number, code_system, description, severity, is_generic, makes,
  typical_repair_cost - 12, labour_hours, source, first_documented, confidence,
  TIMESTAMP_SUB(ingested_at, INTERVAL 120 DAY), 'june', TIMESTAMP '2025-06-03 09:00:00+00'
FROM `${PROJECT_ID}.${STAGING_DATASET}.dtc_codes_github`
WHERE MOD(code_number, 13) != 5
UNION ALL
SELECT
  CONCAT('P09', SUBSTR(code, 4)), code_number + 200, code_system,
  REPLACE(description, 'Transmission', 'Transmission (hybrid)'), severity, is_generic, makes,
  typical_repair_cost, labour_hours, source, first_documented, confidence,
  TIMESTAMP_SUB(ingested_at, INTERVAL 200 DAY), 'march', TIMESTAMP '2025-03-15 04:00:00+00'
FROM `${PROJECT_ID}.${STAGING_DATASET}.dtc_codes_github`
WHERE code BETWEEN 'P0701' AND 'P0717';

-- Production: forum posts. The older 11,115 of the staged ones, 85 since deleted there: 11,200 --------

DROP TABLE IF EXISTS `${PROJECT_ID}.${PROD_DATASET}.reddit_diagnostic_posts`;

CREATE TABLE `${PROJECT_ID}.${PROD_DATASET}.reddit_diagnostic_posts` (
  post_id STRING NOT NULL OPTIONS (description = 'Reddit fullname; unique'),
  subreddit STRING NOT NULL,
  posted_at TIMESTAMP NOT NULL OPTIONS (description = 'When the author posted it'),
  title STRING NOT NULL,
  body STRING OPTIONS (description = 'Markdown; NULL for a post that is only a picture'),
  vehicle STRUCT<make STRING, model STRING, model_year INT64> OPTIONS (description = 'As read from the title'),
  dtc_codes ARRAY<STRING> OPTIONS (description = 'Trouble codes that the post names'),
  top_comments ARRAY<STRUCT<author_hash STRING, score INT64, body STRING>>
    OPTIONS (description = 'At most two, best first; authors hashed'),
  score INT64 OPTIONS (description = 'Votes up less votes down'),
  upvote_ratio FLOAT64,
  is_solved BOOL OPTIONS (description = 'The author said what fixed it'),
  quoted_cost NUMERIC OPTIONS (description = 'US dollars, what a workshop asked'),
  confidence FLOAT64 NOT NULL OPTIONS (description = 'From 0 to 1: how far the scraper trusts the row'),
  ingested_at TIMESTAMP NOT NULL OPTIONS (description = 'When the scraper wrote the row'),
  batch_label STRING OPTIONS (description = 'The merge that last wrote the row'),
  merged_at TIMESTAMP OPTIONS (description = 'When that merge ran')
)
PARTITION BY TIMESTAMP_TRUNC(posted_at, DAY)
CLUSTER BY subreddit, post_id
OPTIONS (
  description = 'Posts that reports quote, kept for ten years',
  labels = [('team', 'diagnostics'), ('level', 'critical')],
  partition_expiration_days = 3650
);

INSERT INTO `${PROJECT_ID}.${PROD_DATASET}.reddit_diagnostic_posts` (
  post_id, subreddit, posted_at, title, body, vehicle, dtc_codes, top_comments, score, upvote_ratio,
  is_solved, quoted_cost, confidence, ingested_at, batch_label, merged_at
)
SELECT
  post_id, subreddit, posted_at, title, body, vehicle, dtc_codes, top_comments, DIV(score * 8, 10),
  upvote_ratio, is_solved AND MOD(score, 2) = 0, quoted_cost, confidence,
  TIMESTAMP_SUB(ingested_at, INTERVAL 9 DAY), 'september',
  TIMESTAMP '2025-09-22 12:00:00+00'
FROM `${PROJECT_ID}.${STAGING_DATASET}.reddit_diagnostic_posts`
WHERE posted_at < TIMESTAMP '2025-09-21 01:30:00+00' AND ingested_at < TIMESTAMP '2025-10-01 06:10:00+00'
UNION ALL
SELECT
  REPLACE(post_id, 't3_1f', 't3_1e'), subreddit, TIMESTAMP_SUB(posted_at, INTERVAL 3 DAY), title, body,
  vehicle, dtc_codes, top_comments, score, upvote_ratio, is_solved, quoted_cost, confidence,
  TIMESTAMP_SUB(ingested_at, INTERVAL 330 DAY), 'november', TIMESTAMP '2024-11-06 12:00:00+00'
FROM `${PROJECT_ID}.${STAGING_DATASET}.reddit_diagnostic_posts`
WHERE posted_at < TIMESTAMP '2024-10-03 17:10:00+00' AND ingested_at < TIMESTAMP '2025-10-01 06:10:00+00';

-- Production: repair videos. The older 930 of the staged ones and 25 since taken down: 955 ------------

DROP TABLE IF EXISTS `${PROJECT_ID}.${PROD_DATASET}.youtube_repair_videos`;

CREATE TABLE `${PROJECT_ID}.${PROD_DATASET}.youtube_repair_videos` (
  video_id STRING NOT NULL OPTIONS (description = 'The eleven characters of the address; unique'),
  channel STRUCT<id STRING, name STRING> OPTIONS (description = 'Who published it'),
  title STRING NOT NULL,
  published_on DATE NOT NULL,
  make STRING NOT NULL OPTIONS (description = 'Make of the car in the video'),
  dtc_codes ARRAY<STRING> OPTIONS (description = 'Trouble codes that the video is about'),
  parts ARRAY<STRUCT<name STRING, price NUMERIC>> OPTIONS (description = 'Parts the video replaces, US dollars'),
  duration_seconds INT64,
  views INT64,
  like_ratio FLOAT64 OPTIONS (description = 'Likes to likes and dislikes'),
  has_transcript BOOL NOT NULL,
  confidence FLOAT64 NOT NULL OPTIONS (description = 'From 0 to 1: how far the scraper trusts the row'),
  ingested_at TIMESTAMP NOT NULL OPTIONS (description = 'When the scraper wrote the row'),
  batch_label STRING OPTIONS (description = 'The merge that last wrote the row'),
  merged_at TIMESTAMP OPTIONS (description = 'When that merge ran')
)
PARTITION BY DATE_TRUNC(published_on, MONTH)
CLUSTER BY make
OPTIONS (
  description = 'Repair videos that reports link to',
  labels = [('team', 'diagnostics'), ('level', 'high')]
);

INSERT INTO `${PROJECT_ID}.${PROD_DATASET}.youtube_repair_videos` (
  video_id, channel, title, published_on, make, dtc_codes, parts, duration_seconds, views, like_ratio,
  has_transcript, confidence, ingested_at, batch_label, merged_at
)
SELECT
  video_id, channel, title, published_on, make, dtc_codes, parts, duration_seconds, DIV(views * 9, 10),
  like_ratio, has_transcript, confidence, TIMESTAMP_SUB(ingested_at, INTERVAL 120 DAY), 'june',
  TIMESTAMP '2025-06-03 09:00:00+00'
FROM `${PROJECT_ID}.${STAGING_DATASET}.youtube_repair_videos`
WHERE published_on < DATE '2025-02-03'
UNION ALL
SELECT
  TRANSLATE(SUBSTR(TO_BASE64(SHA1(CONCAT('taken down ', video_id))), 1, 11), '+/', '-_'), channel, title,
  DATE_SUB(published_on, INTERVAL 60 DAY), make, dtc_codes, parts, duration_seconds, views, like_ratio,
  has_transcript, confidence,
  TIMESTAMP_SUB(ingested_at, INTERVAL 400 DAY), 'march', TIMESTAMP '2025-03-15 04:00:00+00'
FROM `${PROJECT_ID}.${STAGING_DATASET}.youtube_repair_videos`
WHERE published_on < DATE '2020-02-20';

-- Production: the one instrument that everything else leans on ----------------------------------------

DROP TABLE IF EXISTS `${PROJECT_ID}.${PROD_DATASET}.equipment_registry`;

CREATE TABLE `${PROJECT_ID}.${PROD_DATASET}.equipment_registry` (
  equipment_id STRING NOT NULL OPTIONS (description = 'Inventory number'),
  name STRING NOT NULL,
  specification STRUCT<protocols ARRAY<STRING>, firmware STRING, max_voltage FLOAT64>
    OPTIONS (description = 'What it speaks'),
  supported_makes ARRAY<STRING> OPTIONS (description = 'Every make that production may name'),
  purchase_price NUMERIC OPTIONS (description = 'US dollars'),
  calibration_due DATE,
  is_active BOOL NOT NULL,
  registered_at TIMESTAMP NOT NULL,
  last_merge_label STRING OPTIONS (description = 'batch_label of the last merge into production'),
  last_merge_at TIMESTAMP OPTIONS (description = 'When that merge ran')
)
OPTIONS (
  description = 'The scan tools that diagnoses are made with',
  labels = [('team', 'workshop'), ('level', 'core')]
);

INSERT INTO `${PROJECT_ID}.${PROD_DATASET}.equipment_registry` (
  equipment_id, name, specification, supported_makes, purchase_price, calibration_due, is_active,
  registered_at, last_merge_label, last_merge_at
)
SELECT
  'EQ-0001',
  'OBD-II scan tool, bay 1',
  STRUCT(['ISO 15765-4', 'ISO 14230-4', 'SAE J1850'] AS protocols, '4.12.0' AS firmware, 24.0 AS max_voltage),
  ['Toyota', 'Honda', 'Ford', 'Chevrolet', 'Subaru', 'Nissan', 'Volkswagen', 'BMW', 'Jeep', 'Ram'],
  NUMERIC '1849.00',
  DATE '2026-03-31',
  TRUE,
  TIMESTAMP '2024-02-12 15:00:00+00',
  'september',
  TIMESTAMP '2025-09-22 12:00:00+00';
