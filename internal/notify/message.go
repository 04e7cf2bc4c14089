package notify

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/limits"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// Type is the type of all messages.
const Type = "limit.warning"

// Message is a warning in the form that Standard Webhooks recommends.
type Message struct {
	Type      string `json:"type"`
	ID        string `json:"id"`        // the same for each attempt
	Timestamp string `json:"timestamp"` // when the warning was raised, RFC 3339 in UTC
	Data      Data   `json:"data"`
}

// Data describes the limit that was reached.
type Data struct {
	Threshold int               `json:"threshold"` // 80 or 100, in percent
	Scope     tokenstore.Scope  `json:"scope"`     // token, subject or issuer
	Issuer    string            `json:"issuer"`
	Subject   string            `json:"subject,omitempty"`  // of scope subject
	TokenID   string            `json:"token_id,omitempty"` // of scope token
	Unit      tokenstore.Unit   `json:"unit"`               // calls, tokens or usd
	Limit     adminapi.Quantity `json:"limit"`              // dollars are a decimal string
	Used      adminapi.Quantity `json:"used"`
	Start     *time.Time        `json:"window_start,omitempty"` // nil: the limit counts in total
	End       *time.Time        `json:"window_end,omitempty"`
}

// messageOf returns the message of a warning.
func messageOf(w *tokenstore.Warning) *Message {
	c := w.Counter
	dollars := c.Unit == tokenstore.UnitNanoUSD
	d := Data{
		Threshold: w.Threshold, Scope: c.Scope, Unit: c.Unit,
		Limit: adminapi.Quantity{N: w.Limit, Dollars: dollars}, Used: adminapi.Quantity{N: w.Used, Dollars: dollars},
	}
	if dollars {
		d.Unit = adminapi.USD
	}
	if start, end := limits.Bounds(c); !end.IsZero() {
		d.Start, d.End = &start, &end
	}

	issuer, id, _ := strings.Cut(c.ID, "/") // names of issuers contain no slash
	d.Issuer = issuer
	switch c.Scope {
	case tokenstore.ScopeToken:
		d.TokenID = id
	case tokenstore.ScopeSubject:
		d.Subject = id
	}
	return &Message{Type: Type, ID: w.ID(), Timestamp: w.RaisedAt.UTC().Format(time.RFC3339), Data: d}
}

// Fields returns the message as the data of an event.
func (m *Message) Fields() map[string]any {
	d := &m.Data
	fields := map[string]any{
		"id": m.ID, "timestamp": m.Timestamp, "threshold": d.Threshold, "scope": string(d.Scope), "issuer": d.Issuer,
		"unit": string(d.Unit), "limit": plain(d.Limit), "used": plain(d.Used),
	}
	for name, text := range map[string]string{"subject": d.Subject, "token_id": d.TokenID} {
		if text != "" {
			fields[name] = text
		}
	}
	for name, at := range map[string]*time.Time{"window_start": d.Start, "window_end": d.End} {
		if at != nil {
			fields[name] = at.Format(time.RFC3339)
		}
	}
	return fields
}

// plain returns a quantity as in JSON: a number, or dollars as a string.
func plain(q adminapi.Quantity) any {
	if q.Dollars {
		return strings.TrimPrefix(q.String(), "$")
	}
	return q.N
}

// log returns the message as log fields. It redacts the subject, because a back-end may
// have put a secret there.
func (m *Message) log() []zap.Field {
	d := &m.Data
	fields := []zap.Field{
		zap.String("id", m.ID), zap.Int("threshold", d.Threshold), zap.String("scope", string(d.Scope)), zap.String("issuer", d.Issuer),
		zap.String("unit", string(d.Unit)), zap.Any("limit", plain(d.Limit)), zap.Any("used", plain(d.Used)),
	}
	if name := cmp.Or(d.Subject, d.TokenID); name != "" {
		key := map[tokenstore.Scope]string{tokenstore.ScopeSubject: "subject", tokenstore.ScopeToken: "token_id"}[d.Scope]
		fields = append(fields, zap.String(key, redact.Text(name)))
	}
	if d.Start != nil {
		fields = append(fields, zap.Time("window_start", *d.Start), zap.Time("window_end", *d.End))
	}
	return fields
}

// Names of the header fields, see
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// sign sets the header fields of an attempt. The signature covers the identifier, the
// time and the body.
func sign(header http.Header, key []byte, id string, body []byte, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	header.Set(headerID, id)
	header.Set(headerTimestamp, timestamp)
	header.Set(headerSignature, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// encode returns the body of a message.
func (m *Message) encode() ([]byte, error) { return json.Marshal(m) }
