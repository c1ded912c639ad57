# What came of the images of a run, a line for each, from an object of its outcomes:
#
#   aws s3 cp "s3://$BUCKET/runs/$RUN_ID/outcomes/<object>.jsonl.gz" - | gunzip | jq --compact-output --from-file outcomes.jq

# Pieces of a text, each of so many characters.
def pieces($width; $count): . as $text | [range($count) | $text[. * $width : (. + 1) * $width]];
# A number of hexadecimal digits.
def hexadecimal: reduce explode[] as $c (0; . * 16 + $c - (if $c >= 97 then 87 else 48 end));
# The numbers of a column: each is in `digits` how much more it is than the least one.
def numbers($count):
  .least as $least | .width as $width
  | if $width == 0 then [range($count) | $least] else .digits | pieces($width; $count) | map($least + hexadecimal) end;
# What each image has of a column's different values: all have the only one, or each has its own, or `ofImages` says which.
def place($values; $at): if .ofImages then .ofImages[$at] elif ($values | length) == 1 then 0 else $at end;
def padded($width): tostring | if length < $width then "0" * ($width - length) + . else . end;
# The texts of images. Where one has a number for `#`, it is the days from the push to a time, or counts on from the image before.
def texts($times):
  . as $column | .texts as $texts | reduce range($times | length) as $at ({ all: [], last: {}, passed: {} };
    ($column | place($texts; $at)) as $place | ($place | tostring) as $key | $column.numbers[$key] as $number
    | if $number == null then .all += [$texts[$place]]
      else
        (if $number.daysAt
         then ((($number.daysAt | sub("\\.[0-9]+"; "") | fromdate) - $times[$at]) / 86400 | floor)
         else (.last[$key] // 0) + $number.steps[.passed[$key] // 0] end) as $value
        | .last[$key] = $value | .passed[$key] += 1
        | .all += [$texts[$place] | sub("(?<marks>#+)"; (.marks | length) as $width | $value | padded($width))]
      end) | .all;

.repositoryName as $repositoryName
| (.results[]? | { repositoryName: $repositoryName } + .),
  (.resultsInColumns | select(. != null)
   | (.imageDigests | length / 64) as $count
   | (.imageDigests | pieces(64; $count)) as $digests
   | .imagesPushedAt as $pushed
   | (reduce ($pushed.steps | numbers($count - 1))[] as $step ([$pushed.first]; . + [last + $step])
      | map(. * $pushed.stepInMicros / 1000000)) as $times
   | (.imageSizesInBytes | numbers($count)) as $sizes
   | (.imageTags | texts($times)) as $tags
   | (.reasons | texts($times)) as $reasons
   | .kinds as $kinds
   | range($count) as $at
   | { repositoryName: $repositoryName, imageDigest: "sha256:\($digests[$at])",
       imageTags: ($tags[$at] | split(" ")), imagePushedAt: ($times[$at] | floor | todate), imageSizeInBytes: $sizes[$at] }
     + $kinds.kinds[$kinds | place($kinds.kinds; $at)] + { reason: $reasons[$at] })
