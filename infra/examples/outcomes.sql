-- The outcomes of a run as a table of Amazon Athena: what a run did in each repository, and what it planned or did with each image.
--
-- Replace BUCKET by the stack's bucket (its output SourceBucketName) and run the statements one by one. The table is over the outcomes as
-- they are, compressed: nothing is copied. A query names the run. Names are those of the outcomes in lower case, which is how Athena
-- keeps them.

CREATE EXTERNAL TABLE IF NOT EXISTS ecr_steward_outcomes (
  `repositoryname` string,
  `policy` string,
  `apply` string,
  `status` string,
  `error` string,
  `images` struct<`imagetotalcount`:bigint,`imagesizeinbytes`:bigint>,
  `expiring` struct<`imagetotalcount`:bigint,`imagesizeinbytes`:bigint>,
  `deleted` struct<`imagetotalcount`:bigint,`imagesizeinbytes`:bigint>,
  `protectedbyuse` struct<`imagetotalcount`:bigint,`imagesizeinbytes`:bigint>,
  `resultsincolumns` struct<
    `imagedigests`:string,
    `imagesizesinbytes`:struct<`least`:bigint,`width`:bigint,`digits`:string>,
    `reasons`:struct<`texts`:array<string>,`ofimages`:array<bigint>>,
    `kinds`:struct<`kinds`:array<struct<`appliedrulepriority`:bigint,`outcome`:string,`detail`:string>>,`ofimages`:array<bigint>>>
)
PARTITIONED BY (`run` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'TRUE')
LOCATION 's3://BUCKET/runs/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.run.type' = 'injected',
  'storage.location.template' = 's3://BUCKET/runs/${run}/outcomes/'
);

-- Where does most expire?
SELECT repositoryname, status, expiring.imagetotalcount AS images, expiring.imagesizeinbytes / 1e9 AS gigabytes
FROM ecr_steward_outcomes
WHERE run = 'RUN_ID'
ORDER BY expiring.imagesizeinbytes DESC
LIMIT 100;

-- Each image: its digest, its size, the rule and the result. 64 digits are one digest; sizes are the least one and what is in the digits.
SELECT
  repositoryname AS repository,
  'sha256:' || substr(columns.imagedigests, 64 * (image - 1) + 1, 64) AS digest,
  columns.imagesizesinbytes.least + coalesce(from_base(nullif(substr(columns.imagesizesinbytes.digits,
    columns.imagesizesinbytes.width * (image - 1) + 1, columns.imagesizesinbytes.width), ''), 16), 0) AS bytes,
  kind.appliedrulepriority AS rule,
  kind.outcome AS result,
  kind.detail
FROM (
  SELECT repositoryname, columns, image,
    CASE
      WHEN columns.kinds.ofimages IS NOT NULL THEN columns.kinds.kinds[columns.kinds.ofimages[image] + 1]
      WHEN cardinality(columns.kinds.kinds) = 1 THEN columns.kinds.kinds[1]
      ELSE columns.kinds.kinds[image]
    END AS kind
  FROM (SELECT repositoryname, resultsincolumns AS columns FROM ecr_steward_outcomes WHERE run = 'RUN_ID')
  CROSS JOIN UNNEST(sequence(1, length(columns.imagedigests) / 64)) AS images (image)
);
