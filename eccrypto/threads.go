package eccrypto

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// threads is a small pool of operating system threads that open tokens. Anybody
// can send tokens that were never seen before, and opening one takes longer than
// the rest of its call. The pool leaves processors to the other calls.
//
// The pool has threads of its own because the kernel then shares the processors
// fairly between openings and other calls. A channel of slots, with openings on
// the caller's goroutine, bounds them just as well, but the Go scheduler makes a
// light goroutine wait behind them. BenchmarkLightCallBesideOpenings measures a
// round trip on two busy processors, beside openings that never stop:
//
//	slots     p50 160 µs   p90 2.9 ms   p99 10 ms
//	threads   p50 160 µs   p90 0.8 ms   p99  5 ms
type threads chan func()

// sharedThreads returns the pool that all configs share: there is one machine.
var sharedThreads = sync.OnceValue(func() threads {
	return startThreads(max(1, runtime.GOMAXPROCS(0)/2))
})

// startThreads starts n threads. They end when the channel is closed.
func startThreads(n int) threads {
	t := make(threads)
	for range n {
		go func() {
			runtime.LockOSThread()
			for job := range t {
				job()
			}
		}()
	}
	return t
}

// run runs job on a thread of the pool and waits for it. If ctx is done before a
// thread is free, run returns the error of ctx. If job panics, run panics: on the
// thread nobody would recover, and the process would end.
func (t threads) run(ctx context.Context, job func()) error {
	// select would choose at random if a thread were free as well.
	if err := ctx.Err(); err != nil {
		return err
	}

	panicked := make(chan error, 1)
	guarded := func() {
		defer func() {
			var err error
			if v := recover(); v != nil {
				err = fmt.Errorf("%v\n\n%s", v, debug.Stack())
			}
			panicked <- err
		}()
		job()
	}

	select {
	case t <- guarded:
	case <-ctx.Done():
		return ctx.Err()
	}

	if err := <-panicked; err != nil {
		panic(err)
	}
	return nil
}
