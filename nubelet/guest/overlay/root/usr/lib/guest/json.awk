# Print the text values found in a JSON document at the path in `want` (keys joined by "/") or right
# below it, one per line: `awk -v want=public_keys -f json.awk meta_data.json` prints every key.
# Enough of RFC 8259 for a metadata document: strings with escapes (outside ASCII \u is dropped),
# numbers, true/false/null, nested objects and arrays (array members have their number as key).

function fail() { exit 1 }

function skip_space() { while (substr(text, at, 1) ~ /[ \t\r\n]/) at++ }

function parse_string(    out, letter) {
    at++
    while ((letter = substr(text, at, 1)) != "\"") {
        if (letter == "") fail()
        if (letter == "\\") {
            letter = substr(text, ++at, 1)
            if (letter == "n") letter = "\n"
            else if (letter == "t") letter = "\t"
            else if (letter == "r") letter = "\r"
            else if (letter == "b" || letter == "f") letter = ""
            else if (letter == "u") { letter = ascii(substr(text, at + 1, 4)); at += 4 }
        }
        out = out letter
        at++
    }
    at++
    return out
}

function ascii(digits,    value, i) {
    for (i = 1; i <= 4; i++) value = value * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return value < 128 ? sprintf("%c", value) : ""
}

function report(path, value,    parent) {
    parent = path
    sub(/\/[^\/]*$/, "", parent)
    if (path == want || parent == want) {
        sub(/\n+$/, "", value)
        print value
    }
}

function parse_members(path, close_mark, named,    key, number) {
    at++
    for (number = 0; ; number++) {
        skip_space()
        if (substr(text, at, 1) == close_mark) { at++; return }
        key = number
        if (named) {
            key = parse_string()
            gsub(/\//, "_", key)
            skip_space()
            at++   # the colon
        }
        parse_value(path == "" ? key : path "/" key)
        skip_space()
        if (substr(text, at, 1) == ",") at++
        else if (substr(text, at, 1) != close_mark) fail()
    }
}

function parse_value(path,    letter, word) {
    skip_space()
    letter = substr(text, at, 1)
    if (letter == "{") parse_members(path, "}", 1)
    else if (letter == "[") parse_members(path, "]", 0)
    else if (letter == "\"") report(path, parse_string())
    else {
        while ((letter = substr(text, at, 1)) ~ /[-+.0-9A-Za-z]/) { word = word letter; at++ }
        if (word == "") fail()
        report(path, word)
    }
}

{ text = text $0 "\n" }
END { at = 1; parse_value("") }
