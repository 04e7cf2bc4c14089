package tokenstore

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// The header of an export. Version 1 knew one unit only, and version 2 not what tokens
// permit, see column.
const (
	transferFormat  = "relayapi-store"
	transferVersion = 3
)

// column is a member of an exported line: a column and its type.
type column struct {
	name string
	kind byte   // 'i'nteger that is not negative, 't'ext, 'b'ytes (base64), or 'n'ull or such an integer
	lack string // its value in JSON where an export of an earlier version lacks it; empty: it has it
}

// transfer is a table of an export or a copy.
type transfer struct {
	kind, table string
	key         int // how many of the columns are the key: the first ones
	columns     []column
}

// transfers are the tables of an export, in its order. How rows are numbered or
// indexed is not part of them.
var transfers = []transfer{
	{"meta", "meta", 1, columns("key:t value:i")},
	{"token", "tokens", 2, columns("issuer:t id:t subject:t provider:t fingerprint:b issued_at:i expires_at:i first_seen:i label:t disabled:i " +
		"calls_limit:n tokens_limit:n:null nanousd_limit:n:null claimed_calls:n:null claimed_tokens:i:0 claimed_nanousd:i:0 permits:t:\"\" last_seen:i " +
		transferUsage)},
	{"counter", "counters", 4, columns("scope:t id:t unit:t window_start:i used:i")},
	{"revocation", "revocations", 3, columns("scope:t issuer:t id:t before:i made_at:i")},
	{"limit", "limits", 4, columns(`scope:t id:t unit:t:"calls" per:t amount:i made_at:i`)},
	{"warning", "warnings", 6, columns("scope:t id:t unit:t window_start:i amount:i threshold:i used:i raised_at:i attempts:i due_at:i")},
	{"usage", "usage", 6, columns(`day:i issuer:t subject:t provider:t model:t:"" token_id:t:"" ` + transferUsage)},
}

const transferUsage = "calls:i succeeded:i client_errors:i provider_errors:i bytes_in:i bytes_out:i requests:i:0 " +
	"input:i:0 cache_read:i:0 cache_write:i:0 cache_write_hour:i:0 output:i:0 reasoning:i:0 audio_input:i:0 audio_output:i:0 " +
	"image_input:i:0 image_output:i:0 milliseconds:i:0 cost:i:0 unmetered:i:0 overrun:i:0 duration_us:i"

// columns parses `name:kind[:lack]`.
func columns(list string) (all []column) {
	for field := range strings.FieldsSeq(list) {
		part := strings.SplitN(field, ":", 3)
		c := column{name: part[0], kind: part[1][0]}
		if len(part) == 3 {
			c.lack = part[2]
		}
		all = append(all, c)
	}
	return all
}

// header is the first line, footer the last: a file that was cut short has none.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Rows    int64  `json:"rows"`
}

type footer struct {
	Kind string `json:"kind"`
	Rows int64  `json:"rows"`
}

// Export writes a consistent snapshot of a whole store as JSON lines. The relay may
// keep running. progress, if not nil, is called with the number of rows done and of all
// rows.
func Export(ctx context.Context, path string, w io.Writer, progress func(done, all int64)) (rows int64, err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // a snapshot
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // nothing was written
	h := header{Format: transferFormat, Version: transferVersion}
	for _, t := range transfers {
		var n int64
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+t.table).Scan(&n); err != nil {
			return 0, err
		}
		h.Rows += n
	}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	if err := enc.Encode(h); err != nil {
		return 0, err
	}
	for _, t := range transfers {
		if err := exportTable(ctx, tx, t.kind, t.table, t.columns, func(line any) error {
			rows++
			if progress != nil {
				progress(rows, h.Rows)
			}
			return enc.Encode(line)
		}); err != nil {
			return rows, err
		}
	}
	return rows, errors.Join(enc.Encode(footer{"end", rows}), out.Flush())
}

func exportTable(ctx context.Context, tx *sql.Tx, kind, table string, columns []column, write func(line any) error) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	rows, err := tx.QueryContext(ctx, "SELECT "+strings.Join(names, ", ")+" FROM "+table)
	if err != nil {
		return err
	}
	defer rows.Close()
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		line := map[string]any{"kind": kind}
		for i, name := range names {
			line[name] = values[i] // bytes become base64
		}
		if err := write(line); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ErrNotEmpty means that a store to import into is not empty. The counts of two stores
// cannot be merged.
var ErrNotEmpty = errors.New("the store is not empty; import into a file that does not exist yet")

// Import fills a new store from an export, or leaves it unchanged. Errors name the
// number of the line.
func Import(ctx context.Context, path string, r io.Reader, progress func(done, all int64)) (rows int64, err error) {
	db, err := openDB(ctx, path, time.Now)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	tx, err := db.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // after the commit it does nothing
	var full bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM tokens) OR EXISTS (SELECT 1 FROM counters) OR
		EXISTS (SELECT 1 FROM revocations) OR EXISTS (SELECT 1 FROM limits) OR EXISTS (SELECT 1 FROM usage)`).Scan(&full); err != nil {
		return 0, err
	}
	if full {
		return 0, ErrNotEmpty
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM meta`); err != nil { // the birth comes with the lines
		return 0, err
	}
	if rows, err = importLines(ctx, tx, r, progress); err != nil {
		return rows, err
	}
	var born bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'birth')`).Scan(&born); err != nil || !born {
		return rows, errors.Join(err, errors.New("the export does not have the birth of its store"))
	}
	if err := resum(ctx, tx); err != nil {
		return rows, err
	}
	return rows, tx.Commit()
}

// maxLine bounds a line: no row is nearly as long.
const maxLine = 1 << 20

func importLines(ctx context.Context, tx *sql.Tx, r io.Reader, progress func(done, all int64)) (rows int64, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var h header
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &h) != nil || h.Format != transferFormat {
		return 0, errors.Join(lines.Err(), errors.New("line 1: not an export of a store"))
	}
	if h.Version < 1 || h.Version > transferVersion {
		return 0, fmt.Errorf("line 1: the export has version %d, this program reads up to %d", h.Version, transferVersion)
	}
	for lines.Scan() {
		var end footer
		if json.Unmarshal(lines.Bytes(), &end) == nil && end.Kind == "end" {
			if end.Rows != rows || rows != h.Rows || lines.Scan() {
				return rows, fmt.Errorf("line %d: the export says it has %d rows, and %d came before this line, or something after it", rows+2, end.Rows, rows)
			}
			return rows, lines.Err()
		}
		if err := importLine(ctx, tx, lines.Bytes(), h.Version); err != nil {
			return rows, fmt.Errorf("line %d: %w", rows+2, err)
		}
		rows++
		if progress != nil {
			progress(rows, h.Rows)
		}
	}
	return rows, errors.Join(lines.Err(), errors.New("the export is cut short: its last line is missing"))
}

func importLine(ctx context.Context, tx *sql.Tx, data []byte, version int) error {
	var line map[string]json.RawMessage
	if json.Unmarshal(data, &line) != nil {
		return errors.New("is not a JSON object")
	}
	var kind string
	_ = json.Unmarshal(line["kind"], &kind) // a value that is not a string is an unknown kind
	for _, t := range transfers {
		if t.kind != kind {
			continue
		}
		if version < transferVersion {
			upgrade(kind, line, t.columns, version)
		}
		if len(line) != len(t.columns)+1 {
			return fmt.Errorf("a %s has %d members", kind, len(t.columns))
		}
		names, values := make([]string, len(t.columns)), make([]any, len(t.columns))
		for i, c := range t.columns {
			value, err := c.parse(line[c.name])
			if err != nil {
				return fmt.Errorf("%s of a %s %w", c.name, kind, err)
			}
			names[i], values[i] = c.name, value
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO "+t.table+" ("+strings.Join(names, ", ")+") VALUES (?"+
			strings.Repeat(", ?", len(names)-1)+")", values...)
		return err
	}
	return errors.New("has an unknown kind")
}

// upgrade adds the members that a line of an earlier version lacks.
func upgrade(kind string, line map[string]json.RawMessage, columns []column, version int) {
	if kind == "limit" && version == 1 { // of calls, the only unit
		line["amount"] = line["calls"]
		delete(line, "calls")
	}
	for _, c := range columns {
		if line[c.name] == nil && c.lack != "" {
			line[c.name] = json.RawMessage(c.lack)
		}
	}
}

func (c column) parse(data json.RawMessage) (any, error) {
	switch {
	case data == nil:
		return nil, errors.New("is missing")
	case c.kind == 'n' && bytes.Equal(data, []byte("null")):
		return nil, nil
	case c.kind == 't':
		var s *string
		if json.Unmarshal(data, &s) == nil && s != nil {
			return *s, nil
		}
		return nil, errors.New("is not a string")
	case c.kind == 'b':
		var b []byte
		if json.Unmarshal(data, &b) == nil && b != nil {
			return b, nil
		}
		return nil, errors.New("is not base64")
	default:
		var n *int64
		if json.Unmarshal(data, &n) == nil && n != nil && *n >= 0 {
			return *n, nil
		}
		return nil, errors.New("is not a whole number of 0 or more")
	}
}
