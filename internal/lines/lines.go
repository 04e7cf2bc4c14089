// Package lines reads lines of a Caddyfile. Each function reads the arguments of the line
// that a dispenser is at.
package lines

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/grant"
)

// Text reads one argument. instead says what to do instead of giving the line twice.
func Text(d *caddyfile.Dispenser, to *string, instead string) error {
	if *to != "" {
		return d.Errf("%s is given twice%s", d.Val(), instead)
	}
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	return nil
}

// Flag reads a line without arguments.
func Flag(d *caddyfile.Dispenser, to *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*to = true
	return nil
}

// List reads one or more arguments. More lines add to them.
func List(d *caddyfile.Dispenser, to *[]string) error {
	values := d.RemainingArgs()
	if len(values) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, values...)
	return nil
}

// Patterns reads patterns of paths, as [List] does.
func Patterns(d *caddyfile.Dispenser, to *[]string) error {
	if err := List(d, to); err != nil {
		return err
	}
	if _, err := grant.ParseRoutes(*to...); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// Number reads an integer.
func Number(d *caddyfile.Dispenser, to **int64) error {
	if *to != nil {
		return d.Errf("%s is given twice", d.Val())
	}
	var text string
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return d.Errf("%q: must be a number", text)
	}
	*to = &n
	return nil
}

// Duration reads a duration of a second or more.
func Duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	if *to != 0 {
		return d.Errf("%s is given twice", d.Val())
	}
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(args[0])
	if err != nil || duration < time.Second {
		return d.Errf("duration %q: must be a second or more, such as 90s, 12h or 30d", args[0])
	}
	*to = caddy.Duration(duration)
	return nil
}

// CheckTime checks how long WebSockets last. To reverse_proxy a bare number is
// nanoseconds.
func CheckTime(d *caddyfile.Dispenser) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.ArgErr()
	}
	if t, err := caddy.ParseDuration(args[0]); args[0] != "0" && (err != nil || t < time.Second) {
		return d.Errf("%s %q is not a duration of a second or more, such as 90s or 12h, nor 0, which means none", name, args[0])
	}
	return nil
}

// ErrInvalidName says how names must be.
var ErrInvalidName = errors.New("a name must have 1 to 64 letters, digits, dots, dashes and underscores")

// Name reads the name of an issuer or a provider.
func Name(d *caddyfile.Dispenser) (string, error) {
	kind := d.Val()
	if !d.NextArg() {
		return "", d.ArgErr()
	}
	if !grant.ValidName(d.Val()) {
		return "", d.Errf("%s %q: %v", kind, d.Val(), ErrInvalidName)
	}
	return d.Val(), nil
}

// TakePath reads a plain path, and deletes the line.
func TakePath(d *caddyfile.Dispenser) (string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return "", d.ArgErr()
	}
	if !strings.HasPrefix(args[0], "/") || strings.ContainsAny(args[0], "*?#") {
		return "", d.Errf("%s %q: give a plain path that starts with a slash", name, args[0])
	}
	if name == "prefix" && strings.Trim(args[0], "/") == "" {
		return "", d.Errf("prefix %s: leave it out for no prefix", args[0])
	}
	d.DeleteN(2)
	return args[0], nil
}
