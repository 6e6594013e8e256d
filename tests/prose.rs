//! The project's language: subject, verb, object, in comments, names, messages, manuals and documents (CONTRIBUTING.md).
//!
//! `PROSE=all cargo test --test prose -- --nocapture` lists every offence with its place, `PROSE=PATH` those below PATH.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Offences that a directory may still have. Lower the number with every text that you mend.
const REMAINING: &[(&str, usize)] = &[
    ("src/bin/pulsegate", 9),
    ("src/blocks.rs", 3),
    ("src/connection", 14),
    ("src/endpoint", 1),
    ("src/gateway", 111),
    ("src/proto", 12),
    ("src/server", 19),
];

/// Places where a rule does not hold: (start of the path, rule or "" for all, reason).
const ALLOWED: &[(&str, &str, &str)] = &[
    ("tests/prose.rs", "", "the rules quote the constructions that they ban"),
    ("CONTRIBUTING.md", "", "the page quotes the constructions that it bans"),
    ("ARCHITECTURE.md", "got rid of", "the glossary lists words that are not used"),
    ("ARCHITECTURE.md", "on its way", "the glossary lists words that are not used"),
    ("ARCHITECTURE.md", "eighths, tight", "the glossary lists words that are not used"),
    ("ARCHITECTURE.md", "is told", "the glossary lists words that are not used"),
    ("ARCHITECTURE.md", "those that have", "the glossary lists words that are not used"),
    ("ARCHITECTURE.md", "what waits", "the glossary lists words that are not used"),
    ("src/bin/pulsegate/manual/completions.rs", "semicolon", "the texts are shell code"),
    ("src/bin/pulsegate/web/page.rs", "semicolon", "the texts are fields of HTTP"),
    ("src/bin/pulsegate/web/response.rs", "semicolon", "the texts are fields of HTTP"),
    ("src/bin/pulsegate/web/server/answers.rs", "semicolon", "the texts are fields of HTTP"),
    ("man/pulsegate-web.1", "semicolon", "the examples are shell and nginx code"),
    ("packaging/notices", "", "licence texts of others"),
    ("LICENSE", "", "licence texts of others"),
    ("packaging/deb/copyright", "", "licence texts of others"),
];

/// Paths in texts that a command or another project makes.
const FOREIGN: &[&str] =
    &["sysexits.h", "run.html", "lib/functions.sh", "versions.txt", "out.html", "serde_json", "sysusers.d"];

/// Word sequences that style bans. `|` separates alternatives.
const BANNED: &[&str] = &[
    "whoever",
    "those who|that",
    "the one|ones who|that",
    "one|ones|all that is|are|has|have|was|were|can|may",
    "who is|has|are|have|was|were on|in|to|the|a",
    "is|are|was|were|be|been|being told",
    "be had",
    "so many|much",
    "is|are|was|were to be",
    "get|gets|got|gotten rid of",
    "on its|their|the way out",
    "was|were hoped",
    "as before",
    "tells of",
    "in one breath",
];

/// Words that open a clause. `what` or `who` behind one of them is the subject of a clause of its own.
const OPENERS: &[&str] = &["and", "but", "since", "that", "so", "because", "if", "when", "while", "for", "where", "as"];

/// Fractions. Each needs the name of its limit in parentheses behind it, or stands in parentheses behind the name.
const FRACTIONS: &[&str] = &["eighth", "eighths", "quarter", "quarters", "fifths", "sixteenth", "sixteenths", "thirds"];

/// Extensions of files that texts refer to.
const REFERRED: &[&str] = &["rs", "md", "sh", "py", "toml", "c", "h", "html", "service", "socket", "png", "yml"];

/// The longest sentence of a manual or document.
const SENTENCE_WORDS_MAX: usize = 25;

/// A word as it stands, and its line.
type Word = (String, usize);

/// Every file of the project, by its path from the root.
fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap().to_owned();
        let built = ["target", ".git", "fuzz/corpus", "fuzz/artifacts", "fuzz/target", "fuzz/seeds"];
        if built.contains(&name.as_str()) || name.contains("__pycache__") {
            continue;
        }
        if path.is_dir() { files(&path, found) } else { found.push(name) }
    }
}

/// The prose of a line, or nothing where the line ends a paragraph.
fn prose<'a>(extension: &str, line: &'a str, fenced: &mut bool) -> Option<&'a str> {
    let line = line.trim();
    match extension {
        "md" => {
            *fenced ^= line.starts_with("```");
            (!*fenced && !line.contains("```")).then_some(line)
        }
        "1" | "5" | "7" => match line.split_once(' ') {
            Some((".B" | ".I" | ".BR" | ".BI" | ".RB" | ".RI" | ".IR" | ".IB", rest)) => Some(rest),
            _ => (!line.starts_with(['.', '\''])).then_some(line),
        },
        "rs" | "c" | "h" => {
            let start = line.find("//").filter(|start| *start == 0 || line[..*start].ends_with(' '));
            let prose = start.map(|start| line[start..].trim_start_matches(['/', '!']).trim());
            *fenced ^= prose.is_some_and(|prose| prose.starts_with("```"));
            prose.filter(|prose| !*fenced && !prose.starts_with("```"))
        }
        _ => {
            let start = line.find('#').filter(|start| *start == 0 || line[..*start].ends_with(' '));
            start.map(|start| line[start..].trim_start_matches('#').trim()).filter(|prose| !prose.starts_with('!'))
        }
    }
}

/// Names of functions and texts of messages in a line of Rust, in words. Texts in tests are data.
fn names_and_messages(line: &str, is_test: bool) -> Vec<String> {
    let line = line.trim();
    if line.starts_with("//") {
        return Vec::new();
    }
    let name = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next());
    let name = name.filter(|_| !line.contains('"')).map(|name| name.replace('_', " "));
    let literals = line.split('"').skip(1).step_by(2).filter(|text| text.contains(' ') && !is_test).map(str::to_owned);
    name.into_iter().chain(literals).collect()
}

fn words(text: &str, line: usize) -> impl Iterator<Item = Word> {
    text.split_whitespace().map(move |word| (word.to_owned(), line))
}

fn paragraphs(path: &str, text: &str) -> Vec<Vec<Word>> {
    let extension = path.rsplit(['.', '/']).next().unwrap();
    let (mut open, mut found, mut fenced) = (Vec::new(), Vec::new(), false);
    let mut is_test = !path.starts_with("src") || path.contains("/tests");
    for (number, line) in (1..).zip(text.lines()) {
        is_test |= line.contains("#[cfg(test)]");
        let prose = prose(extension, line, &mut fenced);
        if prose.is_none_or(|prose| prose.is_empty() || prose.starts_with(['#', '*', '-', '|', '!']) || numbered(prose))
        {
            found.push(std::mem::take(&mut open));
        }
        open.extend(words(prose.unwrap_or_default(), number));
        if extension == "rs" {
            found.extend(names_and_messages(line, is_test).iter().map(|text| words(text, number).collect()));
        }
    }
    found.push(open);
    found
}

/// Whether a line begins an entry of a numbered list.
fn numbered(line: &str) -> bool {
    line.split_once(". ").is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A word without its punctuation, in small letters.
fn bare(word: &str) -> String {
    word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase()
}

fn ends_clause(word: &str) -> bool {
    word.trim_end_matches(['"', '`', ')', '*']).ends_with(['.', ':', ';', '!', '?', ',', '('])
}

fn is_banned(rule: &str, at: &[Word]) -> bool {
    let mut alternatives = rule.split(' ');
    let count = rule.split(' ').count();
    count <= at.len() && at[..count - 1].iter().all(|(word, _)| !ends_clause(word)) && {
        at.iter().zip(&mut alternatives).all(|((word, _), words)| words.split('|').any(|allowed| allowed == bare(word)))
    }
}

/// A free relative clause as subject: `what` or `who` at the start of a clause, in a sentence that is no question.
fn is_free_relative(paragraph: &[Word], index: usize) -> bool {
    let word = bare(&paragraph[index].0);
    let starts =
        index == 0 || ends_clause(&paragraph[index - 1].0) && !(word == "who" && paragraph[index - 1].0.ends_with(','));
    let follows = index > 0 && OPENERS.contains(&bare(&paragraph[index - 1].0).as_str());
    let end =
        paragraph[index..].iter().find(|(word, _)| word.trim_end_matches(['"', '`', ')']).ends_with(['.', '?', '!']));
    let question = end.is_some_and(|(word, _)| word.contains('?'));
    let is_placeholder = paragraph[index].0.contains('{');
    (word == "what" || word == "who") && (starts || follows) && !question && !is_placeholder
}

fn is_bare_fraction(at: &[Word]) -> bool {
    let spelled = FRACTIONS.contains(&bare(&at[0].0).as_str());
    let digits =
        at[0].0.trim_matches(['(', ')', ',', '.', ';', ':', '"']).split_once('/').is_some_and(|(above, below)| {
            let small = |text: &str| text.parse::<u32>().is_ok_and(|number| (1..=16).contains(&number));
            small(above) && small(below)
        });
    let is_explanation = at[0].0.starts_with('(');
    (spelled || digits) && !is_explanation && !at.iter().skip(1).take(6).any(|(word, _)| word.starts_with('('))
}

/// The file that a word names, if it names one that a reader would look for in the project.
fn reference(word: &str) -> Option<&str> {
    let link = word.split_once("](").map(|(_, link)| link.split([')', '#']).next().unwrap());
    let name = link.unwrap_or_else(|| {
        word.trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '.' && letter != '/')
    });
    let name = name.trim_end_matches(['.', ',']).trim_start_matches("./");
    let (stem, extension) = name.rsplit_once('.')?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    let placeholder =
        stem.rsplit('/').next().unwrap().bytes().all(|byte| byte.is_ascii_uppercase()) && extension != "md";
    let ours =
        REFERRED.contains(&extension) && !stem.is_empty() && !stem.contains("//") && !stem.starts_with(['/', '$', '~']);
    (ours && plain && !placeholder && !name.starts_with("target/")).then_some(name)
}

/// Sentences of a manual or document with more than [`SENTENCE_WORDS_MAX`] words.
fn long_sentences(paragraph: &[Word]) -> Vec<(String, usize)> {
    let sentences =
        paragraph.split_inclusive(|(word, _)| word.trim_end_matches(['"', ')', '*']).ends_with(['.', '?', ':']));
    let is_word = |(word, _): &&Word| word.contains(char::is_alphanumeric);
    let long = sentences.filter(|sentence| sentence.iter().filter(is_word).count() > SENTENCE_WORDS_MAX);
    let shown =
        |sentence: &[Word]| sentence.iter().take(6).map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" ");
    long.map(|sentence| (format!("long sentence: {}", shown(sentence)), sentence[0].1)).collect()
}

fn rules_broken(paragraph: &[Word], path: &str, all: &[String]) -> Vec<(String, usize)> {
    let is_document = path.starts_with("man/") || path.ends_with(".md");
    let mut broken = if is_document { long_sentences(paragraph) } else { Vec::new() };
    for (index, (word, line)) in paragraph.iter().enumerate() {
        let at = &paragraph[index..];
        let shown = || at.iter().take(6).map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" ");
        if is_free_relative(paragraph, index) {
            broken.push((format!("free relative: {}", shown()), *line));
        } else if BANNED.iter().any(|rule| is_banned(rule, at)) {
            broken.push((format!("banned: {}", shown()), *line));
        }
        if word.ends_with(';') && !path.ends_with(".md") {
            broken.push((format!("semicolon: {}", shown()), *line));
        }
        if is_bare_fraction(at) {
            broken.push((format!("fraction without a name: {}", shown()), *line));
        }
        let Some(name) = reference(word) else { continue };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside = name.strip_prefix("../").unwrap_or(name);
        let known = all.iter().any(|file| file == name || file.ends_with(&format!("/{beside}")) || file == beside);
        let foreign = FOREIGN.iter().any(|foreign| name.contains(foreign));
        if !known && !foreign && !Path::new(folder).join(name).exists() {
            broken.push((format!("no such file: {name}"), *line));
        }
    }
    broken
}

/// The directory whose count an offence adds to: two levels below `src` and `tests`, else the first.
fn directory(path: &str) -> String {
    let parts: Vec<_> = path.split('/').collect();
    let depth = if path.starts_with("src/bin") {
        3
    } else if path.starts_with("src") {
        2
    } else {
        1
    };
    parts[..depth.min(parts.len())].join("/")
}

#[test]
fn texts_follow_the_style() {
    let mut all = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut all);
    all.sort();
    let mut offences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in &all {
        let allowed =
            |rule: &str| ALLOWED.iter().any(|(start, what, _)| path.starts_with(start) && rule.contains(what));
        let text = match fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)) {
            Ok(text) if ![".lock", ".css", ".js", ".html", ".dict"].iter().any(|end| path.ends_with(end)) => text,
            _ => continue,
        };
        for paragraph in paragraphs(path, &text) {
            for (rule, line) in rules_broken(&paragraph, path, &all).into_iter().filter(|(rule, _)| !allowed(rule)) {
                offences.entry(directory(path)).or_default().push(format!("{path}:{line}: {rule}"));
            }
        }
    }
    let wanted = std::env::var("PROSE").unwrap_or_default();
    let mut over = Vec::new();
    for (directory, found) in &offences {
        let allowed = REMAINING.iter().find(|(name, _)| name == directory).map_or(0, |(_, count)| *count);
        if !wanted.is_empty() {
            println!("(\"{directory}\", {}),", found.len());
            let listed = found.iter().filter(|place| wanted == "all" || place.starts_with(&wanted));
            listed.for_each(|place| println!("    {place}"));
        }
        if found.len() > allowed {
            over.push(format!("{directory}: {} offences, {allowed} allowed:\n{}", found.len(), found.join("\n")));
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}
