//! Explains parse errors of JSON and YAML in words for people: which character is wrong, and what to write instead. The messages
//! of the parsing libraries speak of tokens, sequences and their own functions.

use crate::domain::text::finding::quoted;

/// The line of a text, from 1, without its end; empty when there is no such line.
pub(crate) fn line_of(text: &str, line: usize) -> &str {
    text.split('\n').nth(line.saturating_sub(1)).unwrap_or_default().trim_end_matches('\r')
}

/// A column in characters, from 1, of one that counts bytes.
fn in_characters(line: &str, column_in_bytes: usize) -> usize {
    let before = line.char_indices().take_while(|(at, _)| at + 1 < column_in_bytes).count();
    // An error at the end of a line has a column past it, or none.
    if column_in_bytes > line.len() { before.max(1) } else { before + 1 }
}

/// Why a text is not JSON: line and column, both from 1 and in characters, and the cause.
pub(crate) fn json(text: &str, error: &serde_json::Error) -> (usize, usize, String) {
    let message = error.to_string();
    let tail = format!(" at line {} column {}", error.line(), error.column());
    let cause = message.strip_suffix(&tail).unwrap_or(&message);
    let line = line_of(text, error.line());
    let column = in_characters(line, error.column());
    if error.is_data() {
        return (error.line(), column, shape(cause));
    }
    // A word that begins like true, false or null is wrong in its middle.
    let characters: Vec<char> = line.chars().collect();
    let mut start = column.saturating_sub(1);
    while cause == "expected ident"
        && start > 0
        && characters.get(start - 1).is_some_and(|character| character.is_alphanumeric())
    {
        start -= 1;
    }
    let rest: String = characters.iter().skip(start).take(40).collect();
    let next = rest.trim_start();
    let first = next.chars().next();
    let problem = match cause {
        _ if error.is_eof() => {
            let inside = match cause {
                "EOF while parsing a list" => " inside of a list",
                "EOF while parsing an object" => " inside of an object",
                "EOF while parsing a string" => " inside of a string",
                _ => "",
            };
            format!("the text ends{inside}: it is cut off, or a bracket or a quotation mark is missing")
        }
        "recursion limit exceeded" => "it is nested too deeply".to_owned(),
        "trailing comma" => "a comma after the last entry; remove it".to_owned(),
        "trailing characters" => {
            format!("{} stands after the end of the document; remove it", quoted(next))
        }
        "invalid escape" => {
            "a backslash before a character that has no escape in JSON; write `\\\\` for a backslash".to_owned()
        }
        "invalid number" => {
            "a number that JSON does not have; write digits, without zeros in front and a sign `+`".to_owned()
        }
        "number out of range" => "a number that is too large".to_owned(),
        "lone leading surrogate in hex escape"
        | "unexpected end of hex escape"
        | "invalid unicode code point" => "an escape `\\u…` that stands for no character".to_owned(),
        _ if cause.starts_with("control character") => {
            "a line break, a tab or another control character inside of a string; write `\\n` or `\\t`, or close the string"
                .to_owned()
        }
        _ => match first {
            Some('/' | '#') => "a comment, which JSON does not have; remove it".to_owned(),
            Some('\'') => "single quotation marks; JSON has double ones, `\"`".to_owned(),
            Some('“' | '”' | '„' | '‘' | '’' | '«') => {
                "quotation marks of a text program; write straight double ones, `\"`".to_owned()
            }
            Some('<') => "a mark of a template or a page; JSON has none".to_owned(),
            Some('`') => "a backtick; JSON has double quotation marks, `\"`".to_owned(),
            Some(other) => unexpected(cause, other, next),
            None => "something is missing at the end of this line".to_owned(),
        },
    };
    (error.line(), column, problem)
}

/// Explains a character that is not allowed at its place.
fn unexpected(cause: &str, first: char, next: &str) -> String {
    let word: String =
        next.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')).collect();
    match (cause, word.as_str()) {
        ("expected value" | "expected ident", "True" | "False") => {
            format!("`{word}` is Python's; write `{}`", word.to_lowercase())
        }
        ("expected value" | "expected ident", "None" | "undefined" | "nil") => {
            format!("`{word}` is no value of JSON; leave the field out")
        }
        ("expected value" | "expected ident", "NaN" | "Infinity") => format!("`{word}` is no number of JSON"),
        ("key must be a string", word) if !word.is_empty() => {
            format!("the name {} stands without quotation marks; write `\"{word}\"`", quoted(word))
        }
        ("key must be a string", _) => format!("`{first}` where a name in quotation marks is needed"),
        ("expected `:`", _) => format!("`{first}` where a colon is needed after the name of a field"),
        ("expected `,` or `}`", _) => {
            format!("{} where a comma or `}}` is needed; is the comma before it missing?", quoted(next))
        }
        ("expected `,` or `]`", _) => {
            format!("{} where a comma or `]` is needed; is the comma before it missing?", quoted(next))
        }
        (_, "") => format!("`{first}` where a value is needed"),
        (_, word) => {
            format!("{} is no value; put it in double quotation marks if it is a text", quoted(word))
        }
    }
}

/// Explains a JSON value of the wrong type, from serde's message.
pub(crate) fn shape(cause: &str) -> String {
    if let Some((found, wanted)) =
        cause.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("{} where {} is needed", found_kind(found), wanted_kind(wanted));
    }
    if let Some((found, wanted)) =
        cause.strip_prefix("invalid value: ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("{} where {} is needed", found_kind(found), wanted_kind(wanted));
    }
    if let Some(name) = cause.strip_prefix("missing field ") {
        return format!("{name} is missing");
    }
    if let Some(name) = cause.strip_prefix("duplicate field ") {
        return format!("{name} is there more than once; keep one");
    }
    if let Some(rest) = cause.strip_prefix("unknown field ") {
        return match rest.split_once(", expected ") {
            Some((name, known)) => {
                let known = known.strip_prefix("one of ").unwrap_or(known);
                format!("{name} is not a field here; there are {known}")
            }
            None => format!("{rest} is not a field here"),
        };
    }
    cause.to_owned()
}

fn found_kind(found: &str) -> String {
    let kind = match found {
        "map" => "an object",
        "sequence" => "a list",
        "null" | "unit value" | "Option value" => "null",
        _ => match found.split_once(' ') {
            Some(("string", text)) => {
                return format!("the string {}", quoted(text.trim_matches('"')));
            }
            Some(("integer", number)) => return format!("the number {number}"),
            Some(("floating", rest)) => {
                return format!("the number {}", rest.strip_prefix("point ").unwrap_or(rest));
            }
            Some(("boolean", value)) => return value.to_owned(),
            _ => found,
        },
    };
    kind.to_owned()
}

fn wanted_kind(wanted: &str) -> &str {
    match wanted {
        "a sequence" => "a list",
        "a map" => "an object",
        "u64" | "u32" | "u16" | "u8" | "usize" => "a whole number of 0 or more",
        "i64" | "i32" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "str" => "a string",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// Explains why a text is not YAML. `place` counts lines and characters from 1.
pub(crate) fn yaml(text: &str, place: Option<(usize, usize)>, message: &str) -> String {
    let (line, column) = place.unwrap_or((1, 1));
    let source = line_of(text, line);
    let rest: String = source.chars().skip(column.saturating_sub(1)).collect();
    let indentation: String = source.chars().take_while(|c| c.is_whitespace()).collect();
    let lower = message.to_lowercase();
    if message.contains("multiple YAML documents") {
        return "a second document begins here; keep one, or write each into a file of its own".to_owned();
    }
    if let Some((_, tag)) = message.split_once("unsupported tag `") {
        let tag = tag.trim_end_matches('`');
        return format!(
            "the tag `{tag}` has no meaning here, as CloudFormation's `!Ref` and `!Sub` have none; write the value itself"
        );
    }
    // YAML takes other spaces for letters, and complains about a later line.
    let is_other_space = |c: char| c.is_whitespace() && !c.is_ascii();
    let begins_with_other_space =
        |line: &str| line.trim_start_matches([' ', '-']).starts_with(is_other_space);
    if let Some(number) = text.lines().take(line).position(begins_with_other_space) {
        let other = text.lines().nth(number).and_then(|line| line.chars().find(|c| is_other_space(*c)));
        return format!(
            "line {} begins with a space that is none for YAML, U+{:04X}, as web pages and word processors have it; write ordinary spaces",
            number + 1,
            other.map_or(0, u32::from)
        );
    }
    if indentation.contains('\t') || lower.contains("tab") {
        return "a tab in the indentation, which YAML does not take; write spaces".to_owned();
    }
    if rest.starts_with("{{") || rest.starts_with("{%") || source.contains("{{") {
        return "a mark of a template, `{{ … }}`; render the template first".to_owned();
    }
    if let Some(first @ ('*' | '&' | '!' | '%' | '@' | '`' | '|' | '>')) =
        rest.trim_start_matches([' ', '-', '[', '{', ',']).chars().next()
    {
        let meaning = match first {
            '*' => "stands for something that was named before with `&`",
            '&' => "gives a name to what follows",
            '!' => "begins a tag",
            '|' | '>' => "begins a text of several lines",
            _ => "begins nothing in YAML",
        };
        return format!("`{first}` {meaning}; put the text in quotation marks if it is meant");
    }
    if lower.contains("unclosed bracket") || lower.contains("while parsing a flow") {
        let bracket = rest.chars().next().filter(|c| matches!(c, '[' | '{'));
        return match bracket {
            Some(bracket) => format!("`{bracket}` is never closed, or a comma is missing in it"),
            None => "a comma or a closing bracket is missing before this".to_owned(),
        };
    }
    if lower.contains("quoted scalar") || lower.contains("unclosed quote") {
        return "a quotation mark is never closed, or something follows the one that closes".to_owned();
    }
    if rest.starts_with(':') {
        return "a colon where none can stand: a bracket or a quotation mark before it is not closed, or this line is not indented \
                as those beside it"
            .to_owned();
    }
    if lower.contains("mapping values are not allowed") || lower.contains("simple key") {
        return "a colon where none can stand: indent this line as those beside it, or put the text in quotation marks"
            .to_owned();
    }
    if lower.contains("block") || lower.contains("indent") || lower.contains("did not find expected") {
        return "this line does not go with those before it: indent it as they are, and check the line above"
            .to_owned();
    }
    if lower.contains("anchor") || lower.contains("alias") {
        return "a name after `*` that nothing before has with `&`; put the text in quotation marks if it is meant"
            .to_owned();
    }
    if lower.contains("budget")
        || lower.contains("too large")
        || lower.contains("too complex")
        || lower.contains("depth")
        || lower.contains("recursion")
    {
        return "it is nested too deeply, or repeats too much by names with `&` and `*`".to_owned();
    }
    if lower.contains("unexpected end") || lower.contains("unexpected eof") || lower.contains("end of") {
        return "the text ends in the middle of something".to_owned();
    }
    if lower.contains("duplicate") {
        return "the same field is there more than once; keep one".to_owned();
    }
    if rest.trim().is_empty() {
        return "something is missing at the end of this line".to_owned();
    }
    format!("{} cannot stand here", quoted(rest.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_json(text: &str) -> (usize, usize, String) {
        json(text, &serde_json::from_str::<serde_json::Value>(text).unwrap_err())
    }

    #[test]
    fn invalid_json_is_reported_with_what_stands_there() {
        for (text, line, column, expected) in [
            ("{\n  // ten\n  \"rules\": []}", 2, 3, "a comment"),
            ("{\n  /* ten */ \"rules\": []}", 2, 3, "a comment"),
            ("{\n  # ten\n  \"rules\": []}", 2, 3, "a comment"),
            ("{\"a\": [1, # one\n 2]}", 1, 11, "a comment"),
            ("{'rules': []}", 1, 2, "single quotation marks"),
            ("{“rules”: []}", 1, 2, "quotation marks of a text program"),
            ("{\"ä\": “x”}", 1, 7, "quotation marks of a text program"),
            ("{rules: []}", 1, 2, "the name `rules` stands without quotation marks"),
            ("{\"a\": True}", 1, 7, "`True` is Python's; write `true`"),
            ("{\"a\": None}", 1, 7, "`None` is no value of JSON"),
            ("{\"a\": ten}", 1, 8, "`ten` is no value"),
            ("{\"a\": nil}", 1, 8, "`nil` is no value of JSON"),
            ("{\"a\": [1,]}", 1, 10, "a comma after the last entry"),
            ("{\"a\": 1,}", 1, 9, "a comma after the last entry"),
            ("{\"a\": 1\n \"b\": 2}", 2, 2, "`\"b\": 2}` where a comma or `}` is needed"),
            ("[1 2]", 1, 4, "`2]` where a comma or `]` is needed"),
            ("{\"a\" 1}", 1, 6, "`1` where a colon is needed"),
            ("{} x", 1, 4, "`x` stands after the end"),
            ("{\"a\": [1", 1, 8, "the text ends inside of a list"),
            ("{\"a\": \"x\ny\"}", 2, 1, "a line break"),
            ("{\"a\": \"x\\d\"}", 1, 10, "a backslash"),
            ("{\"a\": 007}", 1, 8, "a number that JSON does not have"),
            ("{\"rules\": [,]}", 1, 12, "`,` where a value is needed"),
        ] {
            let (at_line, at_column, problem) = of_json(text);
            assert!(problem.starts_with(expected), "{text}: {problem}");
            assert_eq!(at_line, line, "{text}: {problem}");
            assert!(at_column.abs_diff(column) <= 1, "{text}: column {at_column}: {problem}");
        }
    }

    #[test]
    fn no_word_of_the_library_is_left_about_the_shape_of_a_value() {
        for (cause, expected) in [
            ("invalid type: map, expected a sequence", "an object where a list is needed"),
            (
                "invalid type: string \"x\", expected u64",
                "the string `x` where a whole number of 0 or more is needed",
            ),
            ("invalid type: integer `42`, expected a string", "the number `42` where a string is needed"),
            ("missing field `imagePushedAt`", "`imagePushedAt` is missing"),
            ("duplicate field `images`", "`images` is there more than once; keep one"),
            ("unknown field `a`, expected one of `b`, `c`", "`a` is not a field here; there are `b`, `c`"),
            ("something of our own", "something of our own"),
        ] {
            assert_eq!(shape(cause), expected);
        }
    }
}
