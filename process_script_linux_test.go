package relayapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

func init() { scriptCommands["process"] = scriptProcess }

// scriptProcess looks for two secrets in a process: its environment, its command line,
// its readable memory and the regular files that it has open. The process must hold the
// first one, so that a search that finds nothing would fail, and must not hold the other.
//
//	process PIDFILE HELD SECRETFILE
func scriptProcess(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "process PIDFILE HELD SECRETFILE", !neg && len(args) == 3)
	dir := "/proc/" + strings.TrimSpace(ts.ReadFile(args[0]))
	held, secret := strings.TrimSpace(ts.ReadFile(args[1])), strings.TrimSpace(ts.ReadFile(args[2]))

	environment, err := os.ReadFile(dir + "/environ")
	ts.Check(err)
	line, err := os.ReadFile(dir + "/cmdline")
	ts.Check(err)
	memory, err := readMemory(dir)
	ts.Check(err)
	files, err := readOpenFiles(dir)
	ts.Check(err)
	for name, data := range map[string][]byte{"environment": environment, "memory": memory} {
		if !bytes.Contains(data, []byte(held)) {
			ts.Fatalf("the %s of the process, %d bytes, has nothing of what it must hold", name, len(data))
		}
	}
	for name, data := range map[string][]byte{"environment": environment, "command line": line, "memory": memory, "open files": files} {
		for i := 0; i+12 <= len(secret); i++ {
			if bytes.Contains(data, []byte(secret[i:i+12])) {
				ts.Fatalf("the %s of the process has a piece of the secret", name)
			}
		}
	}
}

// readMemory returns everything that a process has written or can write.
func readMemory(dir string) ([]byte, error) {
	maps, err := os.ReadFile(dir + "/maps")
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(dir + "/mem")
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	var all []byte
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		if !strings.HasPrefix(mode, "rw") { // the rest is of files
			continue
		}
		part := make([]byte, to-from)
		if n, err := mem.ReadAt(part, int64(from)); err == nil || n > 0 { // some maps cannot be read
			all = append(all, part[:n]...)
		}
	}
	return all, nil
}

// readOpenFiles returns what is in the regular files that a process has open.
func readOpenFiles(dir string) (all []byte, err error) {
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name := dir + "/fd/" + entry.Name()
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, data...)
	}
	return all, nil
}
