package dialect

import (
	"bytes"
	"mime"
	"regexp"
	"slices"
	"strings"
)

// formBoundary returns the boundary of a form (RFC 7578), or "" where the body
// is JSON by its type. Servers take text for JSON, and what has no type.
func formBoundary(contentType string) (string, error) {
	if contentType == "" || contentType == "application/json" { // nearly always
		return "", nil
	}
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || strings.Contains(contentType, "*") { // parameters in pieces (RFC 2231)
		return "", unclear("the Content-Type does not parse")
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", unclear("the body is not in UTF-8")
	}
	switch {
	case kind == "application/json", kind == "text/json", kind == "text/plain",
		strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"):
		return "", nil
	case kind != "multipart/form-data":
		return "", unclear("a body of this Content-Type is not looked into for a model: there are JSON and multipart/form-data")
	case !boundaryForm.MatchString(parameters["boundary"]):
		return "", unclear("the form's boundary is none")
	}
	return parameters["boundary"], nil
}

// boundaryForm is what a boundary may be (RFC 2046, section 5.1.1), without the
// characters that clients do not use and parsers treat as they please.
var boundaryForm = regexp.MustCompile(`^[0-9A-Za-z'+_./=-]{1,70}$`)

// disposition is how a part of a form is named (RFC 7578, section 4.2), without
// backslashes, which some parsers take for escapes and some for themselves.
var disposition = regexp.MustCompile(`^form-data; name="([^"\\%*]*)"(; filename="[^"\\]*")?(; filename\*=[A-Za-z0-9!#$&+.^_'%` + "`" + `|~-]+)?$`)

// readForm finds the names in a form. One that parsers could cut into parts in
// two ways is refused.
func (d *Dialect) readForm(data []byte, boundary string) (body, error) {
	var b body
	delimiter := []byte("--" + boundary)
	if !bytes.HasPrefix(data, delimiter) {
		return b, unclear("the form does not begin with its boundary")
	}
	parts := 0
	for at := len(delimiter); ; parts++ {
		if parts > maxParts {
			return b, unclear("the form has more parts than anybody needs")
		}
		rest := data[at:]
		if last, ok := bytes.CutPrefix(rest, []byte("--")); ok {
			if len(last) > 0 && string(last) != "\r\n" {
				return b, unclear("there is more after the form")
			}
			break
		}
		if !bytes.HasPrefix(rest, []byte("\r\n")) {
			return b, unclear("a boundary of the form does not end its line")
		}
		next := bytes.Index(rest, delimiter)
		if next < 2 || string(rest[next-2:next]) != "\r\n" {
			return b, unclear("the form is cut short, or has its boundary within a line")
		}
		// A part without header lines begins with an empty line, which then is
		// the boundary's own end of line too.
		if err := d.readPart(&b, data, at+2, at+next-2); err != nil {
			return b, err
		}
		at += next + len(delimiter)
	}
	if b.model == "" {
		b.absent = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + d.writes() + "\"\r\n\r\n%s\r\n"
	}
	return b, nil
}

// readPart reads the part of a form that lies from start to end.
func (d *Dialect) readPart(b *body, data []byte, start, end int) error {
	head, _, ok := bytes.Cut(data[min(start, end):end], []byte("\r\n\r\n"))
	if !ok {
		return unclear("a part of the form has no header")
	}
	name, file, err := partName(string(head))
	if err != nil {
		return err
	}
	primary, other, err := d.names(name)
	switch {
	case err != nil:
		return err
	case slices.Contains(d.containers, name) || isFallbacks(name):
		return unclear("the part %s may name a model, and is not looked into", name)
	case !primary && !other:
		return nil
	}
	start += len(head) + 4
	value := string(data[start:end])
	switch {
	case file:
		return unclear("the part %s is a file", name)
	case value == "":
		return unclear("the name of a model is empty")
	case other:
		b.others = append(b.others, d.trim(value))
	case b.model != "":
		return unclear("the part %s is there twice", name)
	default:
		b.model, b.start, b.end = d.trim(value), start, end
	}
	return nil
}

// partName reads the header of a part.
func partName(head string) (name string, file bool, err error) {
	found := false
	for line := range strings.SplitSeq(head, "\r\n") {
		field, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || field == "" || strings.ContainsAny(line, "\r\n\x00") || strings.ContainsAny(field, " \t") {
			return "", false, unclear("the header of a part of the form does not parse")
		}
		switch strings.ToLower(field) {
		case "content-disposition":
			m := disposition.FindStringSubmatch(value)
			if m == nil || found {
				return "", false, unclear("a part of the form has a Content-Disposition that parsers read in several ways")
			}
			name, file, found = m[1], m[2] != "" || m[3] != "", true
		case "content-transfer-encoding":
			if e := strings.ToLower(value); e != "binary" && e != "8bit" && e != "7bit" {
				return "", false, unclear("a part of the form is encoded")
			}
		case "content-type":
			if strings.HasPrefix(strings.ToLower(value), "multipart/") {
				return "", false, unclear("a part of the form is a form")
			}
		}
	}
	if !found || name == "_charset_" {
		return "", false, unclear("a part of the form has no name")
	}
	return name, file, nil
}
