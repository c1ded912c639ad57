-- The journal as a table of Amazon Athena: who deleted, archived or restored what, when, why, by which version of the policies file.
--
-- Replace BUCKET by the stack's bucket (its output SourceBucketName) and run the statements one by one. The table is over the journal as it
-- is: nothing is copied, and new objects are found by themselves (partition projection over the day). A run is under the day on which it
-- began, in UTC. Names are those of the journal (docs/schemas) in lower case, which is how Athena keeps them.

CREATE EXTERNAL TABLE IF NOT EXISTS ecr_steward_journal (
  `runid` string,
  `at` string,
  `registryid` string,
  `region` string,
  `by` struct<`principal`:string,`execution`:string,`user`:string,`host`:string>,
  `repositoryname` string,
  `imagedigest` string,
  `imagetags` array<string>,
  `imagepushedat` string,
  `imagesizeinbytes` bigint,
  `imagemanifest` string,
  `imagemanifestmediatype` string,
  `action` struct<`type`:string,`targetstorageclass`:string>,
  `policy` string,
  `policiesfileversion` string,
  `bookversion` string,
  `appliedrulepriority` bigint,
  `reason` string,
  `usagereadat` string,
  `lifecyclepolicytext` string,
  `replacedby` string,
  `wasattachedbystack` boolean,
  `removedbyrunid` string,
  `restoredfrom` string
)
PARTITIONED BY (`day` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'TRUE')
LOCATION 's3://BUCKET/journal/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.day.type' = 'date',
  'projection.day.format' = 'yyyy/MM/dd',
  'projection.day.range' = 'NOW-401DAYS,NOW',
  'projection.day.interval' = '1',
  'projection.day.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://BUCKET/journal/${day}/'
);

-- What this stack was about to delete or archive. A line is written before: whether it was done is in the report of the run,
-- runs/<run>/report.json, and `ecr-steward history` says it.
CREATE OR REPLACE VIEW ecr_steward_removals AS
SELECT
  from_iso8601_timestamp("at") AS removed_at,
  "action"."type" AS action,
  repositoryname AS repository,
  imagedigest AS digest,
  imagetags AS tags,
  coalesce("by"."execution", "by"."principal", "by"."user" || ' at ' || "by"."host", "by"."user") AS who,
  policy,
  appliedrulepriority AS rule,
  coalesce(policiesfileversion, bookversion) AS policies_file_version,
  reason,
  from_iso8601_timestamp(usagereadat) AS usage_read_at,
  imagesizeinbytes AS bytes,
  imagemanifest IS NOT NULL AS has_manifest,
  runid AS run_id,
  registryid AS registry_id,
  region,
  day,
  "$path" AS written_in
FROM ecr_steward_journal
WHERE regexp_like("$path", '/[0-9a-f]{16}\.jsonl$');

-- Who restored what.
CREATE OR REPLACE VIEW ecr_steward_restores AS
SELECT
  from_iso8601_timestamp("at") AS restored_at,
  repositoryname AS repository,
  imagedigest AS digest,
  imagetags AS tags,
  coalesce("by"."execution", "by"."principal", "by"."user" || ' at ' || "by"."host", "by"."user") AS who,
  runid AS run_id,
  removedbyrunid AS removed_by_run_id,
  restoredfrom AS restored_from,
  day
FROM ecr_steward_journal
WHERE regexp_like("$path", '/restore-[0-9a-f]{16}\.jsonl$');

-- Lifecycle policies that were replaced.
CREATE OR REPLACE VIEW ecr_steward_replaced_policies AS
SELECT
  from_iso8601_timestamp("at") AS replaced_at,
  repositoryname AS repository,
  coalesce("by"."execution", "by"."principal", "by"."user" || ' at ' || "by"."host", "by"."user") AS who,
  reason,
  lifecyclepolicytext AS policy_before,
  replacedby AS policy_after,
  runid AS run_id,
  day
FROM ecr_steward_journal
WHERE regexp_like("$path", '/policy-[0-9a-f]{16}\.json$');

-- Who deleted this image? Name days: Athena reads no others.
SELECT removed_at, action, who, policy, rule, reason, usage_read_at, digest, run_id
FROM ecr_steward_removals
WHERE repository = 'shop/web' AND contains(tags, 'v2.4.0') AND day >= '2026/11/01'
ORDER BY removed_at DESC;

-- What did a run take?
SELECT repository, count(*) AS images, sum(bytes) / 1e9 AS gigabytes, count_if(NOT has_manifest) AS cannot_come_back
FROM ecr_steward_removals
WHERE run_id = 'RUN_ID' AND day >= '2026/11/01'
GROUP BY repository
ORDER BY images DESC;
