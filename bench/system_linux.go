package main

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dieWithParent keeps children from outliving a bench that was killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// openFiles lets this process and its children have as many files open at once
// as they want, or as the system allows: it returns how many.
func openFiles(want uint64) (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	// The hard limit is root's to raise, and not everywhere.
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: max(want, limit.Cur), Max: max(want, limit.Max)}) == nil {
		return max(want, limit.Cur), nil
	}
	limit.Cur = limit.Max
	return limit.Cur, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// cpuOf is the CPU time that a process has used so far, in user and in kernel, in
// nanoseconds: /proc has it in hundredths of a second, which is as much as thirty
// calls take.
func cpuOf(pid int) (time.Duration, error) {
	const sched = 2 // the clock of a process is made of its id and this, see clock_getcpuclockid(3)
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &used); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}
