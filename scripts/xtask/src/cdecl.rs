// SPDX-License-Identifier: GPL-2.0
//! Finds named top-level declarations in C text.
//!
//! This is no C parser: it knows comments, literals, preprocessor lines and brackets, and from
//! them where a declaration begins and ends. That is enough for code in the kernel's style.

use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

/// A top-level declaration. Ranges are bytes of the text and cover whole lines.
#[derive(Clone, Debug)]
pub struct Decl {
    /// What it may be called: `name`, or `struct name`, `union name`, `enum name`.
    names: Vec<String>,
    /// Has a body, or is a variable: not a mere prototype.
    definition: bool,
    /// With its comment and its EXPORT_SYMBOL line.
    pub extent: Range<usize>,
    /// Without them.
    pub code: Range<usize>,
}

static DEFINE: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*#\s*define\s+(\w+)"));
static AGGREGATE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b(struct|union|enum)\s+(?:\w+\s+)*?(\w+)\s*$"));
static CALLED: LazyLock<Regex> = LazyLock::new(|| regex(r"(\w+)\s*\("));
static NAMED_BY_MACRO: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b(?:DEFINE|DECLARE|LIST_HEAD|MODULE)\w*\(\s*(\w+)"));
static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?:\b__\w+(?:\([^)]*\))?\s*)*$"));
static BARE_MACRO: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)^\s*\w+\s*\(.*\)\s*$"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// The text with the inside of comments and literals blanked, byte for byte, lines kept; and the
/// ranges of the comments.
fn blank(text: &str) -> (String, Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut comments = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        let comment = match (bytes[i], bytes.get(i + 1)) {
            (b'/', Some(b'*')) => {
                i = text[i + 2..].find("*/").map_or(bytes.len(), |n| i + n + 4);
                true
            }
            (b'/', Some(b'/')) => {
                i = text[i..].find('\n').map_or(bytes.len(), |n| i + n);
                true
            }
            (quote @ (b'"' | b'\''), _) => {
                i += 1;
                while i < bytes.len() && bytes[i] != quote && bytes[i] != b'\n' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                i = (i + 1).min(bytes.len());
                false
            }
            _ => {
                i += 1;
                continue;
            }
        };
        if comment {
            comments.push(start..i);
        }
        let inside = if comment {
            start..i
        } else {
            start + 1..(i - 1).max(start + 1)
        };
        for byte in &mut out[inside] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    // Only whole characters were replaced: comment and literal ends are ASCII.
    (String::from_utf8_lossy(&out).into_owned(), comments)
}

/// What stands outside of all parentheses and brackets.
fn outside(code: &str) -> String {
    let mut depth = 0usize;
    let mut out = String::new();
    for c in code.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// Names of a declaration whose code, up to a body or initialiser, is `head`.
fn names(head: &str, body: bool) -> Vec<String> {
    let assigned = outside(head).contains('=');
    let head = match assigned {
        true => head.split('=').next().unwrap_or(head),
        false => head,
    };
    let mut names = Vec::new();
    if body && !assigned && !head.contains('(') {
        if let Some(m) = AGGREGATE.captures(head) {
            names.push(format!("{} {}", &m[1], &m[2]));
        }
        return names;
    }
    if let Some(m) = NAMED_BY_MACRO.captures(head) {
        names.push(m[1].to_owned());
    }
    if head.contains('(') && !assigned {
        let mut depth = 0usize;
        let mut end = 0;
        for (i, c) in head.char_indices() {
            match c {
                '(' => {
                    if depth == 0 {
                        if let Some(m) = CALLED.captures_iter(&head[end..=i]).last() {
                            names.push(m[1].to_owned());
                        }
                    }
                    depth += 1;
                }
                ')' => {
                    depth = depth.saturating_sub(1);
                    end = i + 1;
                }
                _ => {}
            }
        }
    } else if let Some(m) = VARIABLE.captures(head.trim_end()) {
        if outside(head).split_whitespace().count() > 1 && !is_forward(head) {
            names.push(m[1].to_owned());
        }
    }
    names
}

/// `struct name;` declares nothing that could be moved.
fn is_forward(head: &str) -> bool {
    let mut words = head.split_whitespace();
    matches!(words.next(), Some("struct" | "union" | "enum")) && words.count() == 1
}

/// The start of the line that holds the byte.
fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |n| n + 1)
}

/// The start of the line after the one that holds the byte.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |n| at + n + 1)
}

/// All top-level declarations of the text, in order.
pub fn declarations(text: &str) -> Vec<Decl> {
    let (code, comments) = blank(text);
    let bytes = code.as_bytes();
    let mut decls: Vec<Decl> = Vec::new();
    let mut depth = 0usize;
    let mut conditionals: Vec<usize> = Vec::new();
    // The declaration being read: where it starts, and its first body.
    let mut start: Option<usize> = None;
    let mut body: Option<usize> = None;
    let mut i = 0;

    let mut push = |names: Vec<String>, definition: bool, begin: usize, end: usize| {
        let begin = line_start(text, begin);
        let end = line_end(text, end);
        let mut extent = begin..end;
        // Comments that end on the line before belong to it.
        for comment in comments.iter().rev() {
            let first = line_start(text, comment.start);
            if line_end(text, comment.end.saturating_sub(1)) == extent.start
                && code[first..extent.start].trim().is_empty()
            {
                extent.start = first;
            }
        }
        decls.push(Decl {
            names,
            definition,
            extent,
            code: begin..end,
        });
    };

    while i < bytes.len() {
        let at_line_start = code[line_start(&code, i)..i].trim().is_empty();
        if bytes[i] == b'#' && at_line_start {
            let mut end = line_end(&code, i);
            while end < bytes.len() && code[..end].trim_end_matches('\n').ends_with('\\') {
                end = line_end(&code, end);
            }
            let directive = code[i + 1..end].trim_start();
            if directive.starts_with("if") {
                conditionals.push(depth);
            } else if directive.starts_with("el") {
                depth = conditionals.last().copied().unwrap_or(depth);
            } else if directive.starts_with("endif") {
                conditionals.pop();
            }
            if start.is_none() {
                if let Some(m) = DEFINE.captures(&code[i..end]) {
                    push(vec![m[1].to_owned()], true, i, end - 1);
                }
            }
            i = end;
            continue;
        }
        match bytes[i] {
            b'{' | b'(' | b'[' => {
                start.get_or_insert(i);
                if bytes[i] == b'{' && depth == 0 && body.is_none() {
                    body = Some(i);
                }
                depth += 1;
            }
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if let (b'}', 0, Some(first), Some(brace)) = (bytes[i], depth, start, body) {
                    let head = &code[first..brace];
                    // A function ends with its body, everything else with a semicolon.
                    if head.contains('(') && !outside(head).contains('=') {
                        let typedef = head.trim_start().starts_with("typedef");
                        if !typedef {
                            push(names(head, true), true, first, i);
                            (start, body) = (None, None);
                        }
                    }
                }
            }
            b';' if depth == 0 => {
                if let Some(first) = start {
                    let head = &code[first..body.unwrap_or(i)];
                    let mut found = names(head, body.is_some());
                    let tail = &code[first..i];
                    if head.trim_start().starts_with("typedef") {
                        if let Some(m) = VARIABLE.captures(outside(tail).trim_end()) {
                            found.push(m[1].to_owned());
                        }
                    }
                    let assigned = outside(head).contains('=');
                    let prototype = body.is_none() && head.contains('(') && !assigned;
                    let macro_defined = NAMED_BY_MACRO.is_match(head);
                    push(found, !prototype || macro_defined, first, i);
                }
                (start, body) = (None, None);
            }
            b'\n' if depth == 0 && body.is_none() => {
                // A macro call without a semicolon ends at a blank line.
                if let Some(first) = start {
                    if bytes.get(i + 1) == Some(&b'\n') && BARE_MACRO.is_match(&code[first..i]) {
                        push(names(&code[first..i], false), true, first, i);
                        start = None;
                    }
                }
            }
            byte if !byte.is_ascii_whitespace() => {
                start.get_or_insert(i);
            }
            _ => {}
        }
        i += 1;
    }
    attach_exports(text, &mut decls);
    decls
}

/// A function's EXPORT_SYMBOL line moves with it.
fn attach_exports(text: &str, decls: &mut [Decl]) {
    for i in 1..decls.len() {
        let (before, after) = decls.split_at_mut(i);
        let (decl, next) = (&mut before[i - 1], &after[0]);
        let line = &text[next.code.clone()];
        if line.starts_with("EXPORT_SYMBOL") && next.code.start == decl.extent.end {
            let argument = line
                .split(['(', ',', ')'])
                .nth(1)
                .unwrap_or_default()
                .trim();
            if decl.names.iter().any(|name| name == argument) {
                decl.extent.end = next.code.end;
            }
        }
    }
}

/// The declarations of that name. In a C file a definition hides its prototypes.
pub fn find(text: &str, name: &str, header: bool) -> Vec<Decl> {
    let mut found: Vec<Decl> = declarations(text)
        .into_iter()
        .filter(|decl| decl.names.iter().any(|n| n == name))
        .collect();
    if !header && found.iter().any(|decl| decl.definition) {
        found.retain(|decl| decl.definition);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include <linux/x.h>

#define ONE 1
#define TWO(a) \
	do { if (a) { } while (0)

struct forward;
static DEFINE_MUTEX(lock);
static LIST_HEAD(things);

/**
 * struct thing - a thing; with { in the comment
 */
struct thing {
	int a; /* } */
	union {
		int b;
	};
};

enum kind { KIND_A, KIND_B = 3 };

struct packed_thing {
	u8 a;
} __packed;

static const struct ops my_ops = {
	.open = my_open,
};

static int counter;
static char *names[] = { "a{", "b" };
int function_pointer_user(int (*fn)(void *), void *arg);

static int helper(struct thing *t);

/* Says hello. */
static int helper(struct thing *t)
{
	if (t->a == '{')
		return 1;
#ifdef CONFIG_X
	if (t->a) {
#else
	if (!t->a) {
#endif
		puts("}{");
	}
	return 0;
}

/**
 * api - the function
 */
int __must_check api(struct thing *t, int (*fn)(void *))
	__must_hold(&lock)
{
	return helper(t);
}
EXPORT_SYMBOL_GPL(api);

module_init(api_init)

static int
api_init(void)
{
	return 0;
}

typedef struct { int x; } odd_t;
"#;

    fn code(name: &str) -> Vec<&'static str> {
        find(TEXT, name, false)
            .into_iter()
            .map(|decl| &TEXT[decl.code])
            .collect()
    }

    fn extent(name: &str) -> &'static str {
        let found = find(TEXT, name, false);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        &TEXT[found[0].extent.clone()]
    }

    #[test]
    fn aggregates() {
        assert!(extent("struct thing").starts_with("/**\n * struct thing"));
        assert!(extent("struct thing").ends_with("\t};\n};\n"));
        assert_eq!(extent("enum kind"), "enum kind { KIND_A, KIND_B = 3 };\n");
        assert!(extent("struct packed_thing").ends_with("} __packed;\n"));
        assert!(code("struct forward").is_empty());
    }

    #[test]
    fn functions() {
        assert!(extent("helper").starts_with("/* Says hello. */\nstatic int helper"));
        assert!(extent("helper").ends_with("\treturn 0;\n}\n"));
        assert!(extent("api").starts_with("/**\n * api"));
        assert!(extent("api").ends_with("}\nEXPORT_SYMBOL_GPL(api);\n"));
        assert!(extent("api_init").starts_with("static int\napi_init"));
        assert_eq!(find(TEXT, "helper", true).len(), 2);
        assert!(extent("function_pointer_user").ends_with("void *arg);\n"));
    }

    #[test]
    fn variables_and_macros() {
        assert_eq!(extent("lock"), "static DEFINE_MUTEX(lock);\n");
        assert_eq!(extent("things"), "static LIST_HEAD(things);\n");
        assert_eq!(extent("counter"), "static int counter;\n");
        assert!(extent("my_ops").ends_with("};\n"));
        assert!(extent("names").starts_with("static char *names"));
        assert_eq!(extent("ONE"), "#define ONE 1\n");
        assert!(extent("TWO").ends_with("while (0)\n"));
        assert!(extent("odd_t").starts_with("typedef"));
    }
}
