package dialect

import (
	"bytes"
	"mime"
	"regexp"
	"slices"
	"strings"
)

// formBoundary returns the boundary of a form (RFC 7578), or "" for JSON. Servers also
// parse plain text and bodies without a type as JSON.
func formBoundary(contentType string) (string, error) {
	if contentType == "" || contentType == "application/json" { // nearly always
		return "", nil
	}
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || strings.Contains(contentType, "*") { // parameters in pieces (RFC 2231)
		return "", unclear("Content-Type: it does not parse; write it as in RFC 9110, section 8.3, with each parameter once")
	}
	if !isUTF8(parameters["charset"]) {
		return "", unclear("Content-Type: the charset is not UTF-8; send UTF-8")
	}

	switch {
	case kind == "application/json", kind == "text/json", kind == "text/plain",
		strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"):
		return "", nil
	case kind != "multipart/form-data":
		return "", unclear("Content-Type: bodies of this type are not searched for a model; send application/json or multipart/form-data")
	case parameters["boundary"] == "":
		return "", unclear("Content-Type: the form has no boundary; write multipart/form-data; boundary=… with the boundary of the body")
	case !boundaryForm.MatchString(parameters["boundary"]) || !formType.MatchString(contentType):
		return "", unclear("Content-Type: servers read this boundary in different ways; write multipart/form-data; boundary=… with 1 to 70 letters, digits and hyphens, and no further parameter")
	}
	return parameters["boundary"], nil
}

// isUTF8 reports whether a charset is UTF-8 or empty.
func isUTF8(charset string) bool {
	return charset == "" || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}

// boundaryForm matches the boundaries that RFC 2046, section 5.1.1, permits.
var boundaryForm = regexp.MustCompile(`^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$`)

// formType matches a form's Content-Type without further parameters. PHP uses the
// first text "boundary" as the parameter, wherever it is.
var formType = regexp.MustCompile(`^(?i)multipart/form-data(;[ \t]*(boundary|charset)=("[^"\\]*"|[^\s"\\;,]+))+;?$`)

// readForm finds the names in a form. It refuses forms that parsers can split in
// different ways.
func (d *Dialect) readForm(data []byte, boundary string) (body, error) {
	var b body
	err := eachPart(data, boundary, func(p part, start, end int) error {
		return d.readPart(&b, data, p, start, end)
	})
	if err != nil {
		return b, err
	}

	if b.model == "" {
		b.absent = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + d.writes() + "\"\r\n\r\n%s\r\n"
	}
	return b, nil
}

// eachPart calls f with the header of every part of a form and with the range of its
// value.
func eachPart(data []byte, boundary string, f func(p part, start, end int) error) error {
	delimiter := []byte("--" + boundary)
	if !bytes.HasPrefix(data, delimiter) {
		return unclear("form: it does not begin with the boundary of its Content-Type; send nothing before that")
	}

	parts := 0
	for at := len(delimiter); ; parts++ {
		if parts > maxParts {
			return unclear("form: it has more parts than %d; send fewer", maxParts)
		}
		rest := data[at:]
		if last, ok := bytes.CutPrefix(rest, []byte("--")); ok {
			if len(last) > 0 && string(last) != "\r\n" {
				return unclear("form: data follows the last boundary; end the body there")
			}
			return nil
		}
		if !bytes.HasPrefix(rest, []byte("\r\n")) {
			return unclear("form: a boundary does not end its line; write CR LF after each boundary, and use one that does not occur in the parts")
		}
		next := bytes.Index(rest, delimiter)
		if next < 2 || string(rest[next-2:next]) != "\r\n" {
			return unclear("form: it is cut short, or its boundary occurs within a line; end it with the last boundary, and use one that does not occur in the parts")
		}

		// A part without header lines begins with an empty line. It is the end
		// of the boundary's line, too.
		if err := eachOne(data, at+2, at+next-2, f); err != nil {
			return err
		}
		at += next + len(delimiter)
	}
}

// eachOne calls f with the part of a form from start to end.
func eachOne(data []byte, start, end int, f func(p part, start, end int) error) error {
	head, _, ok := bytes.Cut(data[min(start, end):end], []byte("\r\n\r\n"))
	if !ok {
		return unclear("form: a part has no header; write Content-Disposition: form-data; name=\"…\" and an empty line before its value")
	}
	p, err := readHead(string(head))
	if err != nil {
		return err
	}
	return f(p, start+len(head)+4, end)
}

// readPart reads a part of a form whose value is data[start:end].
func (d *Dialect) readPart(b *body, data []byte, part part, start, end int) error {
	name := part.name
	primary, other, err := d.names(name)
	if err != nil {
		return err
	}
	value := string(data[start:end])
	if !primary && !other {
		return d.holds(name, value)
	}

	switch {
	case part.file:
		return unclear("part %q: it is a file; send it without a filename and without Content-Type: application/octet-stream", quotable(name))
	case !part.text:
		return unclear("part %q: it is not UTF-8; remove its Content-Type", quotable(name))
	case value == "":
		return errEmpty
	case other:
		b.others = append(b.others, d.trim(value))
	case b.model != "":
		return unclear("part %q: it occurs twice; send it once", quotable(name))
	default:
		b.model, b.start, b.end = d.trim(value), start, end
	}
	return nil
}

// holds refuses a part that may have names in its value, because that is not searched.
func (d *Dialect) holds(name, value string) error {
	folded := fold(name)
	w := d.words[folded]
	value = strings.TrimLeft(value, " \t\r\n")
	structured := strings.HasPrefix(value, "{") || strings.HasPrefix(value, "[")
	switch {
	case !isFallbacks(folded) && d.stands(folded, '"') || folded == "prompt" && structured:
		return standsFor(name)
	case isFallbacks(folded), w.role&isMerged != 0, w.role&holdsNames != 0 && (structured || !slices.Contains(scalars, folded)):
		return unclear("part %q: it may name a model and is not searched; remove it, or send JSON", quotable(name))
	}
	return nil
}

// part is the header of a part of a form.
type part struct {
	name string
	file bool // whether servers treat it as a file
	text bool // whether its value is UTF-8
}

// readHead reads the header of a part.
func readHead(head string) (part, error) {
	p := part{text: true}
	seen := make(map[string]bool, 2)
	for line := range strings.SplitSeq(head, "\r\n") {
		field, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || field == "" || strings.ContainsAny(line, "\r\n\x00") || strings.ContainsAny(field, " \t") {
			return p, unclear("form: the header of a part does not parse; write each field on its own line, as name: value")
		}
		field = strings.ToLower(field)
		if seen[field] || field != "content-disposition" && strings.Contains(strings.ToLower(line), "content-disposition") {
			return p, errDisposition
		}
		seen[field] = true
		if err := p.readField(field, value); err != nil {
			return p, err
		}
	}
	if !seen["content-disposition"] || p.name == "_charset_" {
		return p, unclear("form: a part has no name, or changes the charset of others; write Content-Disposition: form-data; name=\"…\" and send UTF-8")
	}
	return p, nil
}

// readField reads one field of a part's header.
func (p *part) readField(field, value string) (err error) {
	switch field {
	case "content-disposition":
		var file bool
		p.name, file, err = readDisposition(value)
		p.file = p.file || file
	case "content-transfer-encoding":
		if e := strings.ToLower(value); e != "binary" && e != "8bit" && e != "7bit" {
			return unclear("form: a part is encoded; send it without a Content-Transfer-Encoding")
		}
	case "content-type":
		kind, parameters, err := mime.ParseMediaType(value)
		switch {
		case strings.HasPrefix(strings.ToLower(value), "multipart/"):
			return unclear("form: a part is a form; send its parts as parts of the outer form")
		case kind == "application/octet-stream": // to busboy this is a file, whatever its name
			p.file = true
		}
		p.text = err == nil && (isUTF8(parameters["charset"]) || strings.EqualFold(parameters["charset"], "us-ascii"))
	}
	return err
}

var errDisposition = unclear("form: parsers read the Content-Disposition of a part in several ways; write form-data; name=\"…\"; filename=\"…\" on one line, without a backslash or %% in the name, and without name= or a semicolon after a backslash in the filename")

// parameter matches a parameter of a Content-Disposition: a name, and a value in quotes
// or as a token. PHP treats a single quote as a quote, so only filename* may have one
// (RFC 8187).
var parameter = regexp.MustCompile(`^;[ \t]*(?i)(?:(name|filename)=(?:"((?:[^"\\]|\\.)*)"|([0-9A-Za-z!#$%&+.^_` + "`" + `|~-]+))|(filename\*)=([A-Za-z0-9!#$&+.^_'%` + "`" + `|~-]+))`)

// renames matches a text within a value that some parser mistakes for the parameter
// name, because it searches with a regular expression.
var renames = regexp.MustCompile(`(?i)name[\x00-\x20]*(=|\*)`)

// readDisposition reads the name of a part (RFC 7578, section 4.2). The parameters may
// come in any order, with or without quotes, but each only once.
//
// Parsers differ in three ways. Some treat a backslash as an escape, so a name must not
// have one, and a filename only if it follows the name. Some search for name= anywhere
// in the line. Some decode name* and %22. The function refuses each difference where it
// matters.
func readDisposition(value string) (name string, file bool, err error) {
	const kind = "form-data"
	if len(value) < len(kind) || !strings.EqualFold(value[:len(kind)], kind) {
		return "", false, errDisposition
	}
	rest := value[len(kind):]
	seen := make(map[string]bool, 3)
	for rest != "" {
		m := parameter.FindStringSubmatch(rest)
		if m == nil {
			return "", false, errDisposition
		}
		rest = rest[len(m[0]):]
		key, text := strings.ToLower(m[1]+m[4]), m[2]+m[3]+m[5]
		if seen[key] || !clearValue(key, text, seen["name"]) {
			return "", false, errDisposition
		}
		seen[key] = true
		if key == "name" {
			name = text
		}
	}
	if !seen["name"] {
		return "", false, errDisposition
	}
	return name, seen["filename"] || seen["filename*"], nil
}

// clearValue reports whether all parsers read the value of a parameter alike, as far
// as it matters here.
func clearValue(key, text string, named bool) bool {
	switch escaped := strings.Contains(text, `\`); {
	case renames.MatchString(text):
		return false
	case key == "name":
		return !strings.ContainsAny(text, `\%*;`)
	default:
		return !escaped || named && !strings.Contains(text, ";")
	}
}
