package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profile writes what a Caddy spends its CPU time on while it does a scenario's
// work once more; what it measures meanwhile does not count.
func (s *session) profile(ctx context.Context, sub *subject, d time.Duration, dir string) error {
	name := strings.NewReplacer("/", "-", " ", "-").Replace(s.name + "-" + sub.name)
	path := fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(math.Ceil(2*d.Seconds())))
	// Minting would be much of what the machine does meanwhile.
	if err := s.tokensFor(sub).reserve(s.needed(d)); err != nil {
		return err
	}
	var data []byte
	err := together(ctx, 2, func(ctx context.Context, i int) (err error) {
		if i == 0 {
			data, err = sub.get(ctx, path)
			return err
		}
		_, _, err = s.work.measure(ctx, s, sub, d)
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".pprof"), data, 0o644)
}
