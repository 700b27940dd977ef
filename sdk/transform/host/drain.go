package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A drain takes what a sandbox writes, through a pipe. So the sandbox has no
// file of the host's to write to: neither more than it may, nor when it has
// answered and the file is taken for a result.
type drain struct {
	from, into *os.File      // ends of the pipe; into is the sandbox's
	done       chan struct{} // closed when all is taken
	rest       int           // bytes that are taken still after the answer
}

// pipeMost is more than a pipe holds.
const pipeMost = 1 << 20

// newDrain has take read all that comes.
func newDrain(take func(io.Reader)) (*drain, error) {
	from, into, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	d := &drain{from: from, into: into, done: make(chan struct{}), rest: pipeMost}
	go func() {
		defer close(d.done)
		defer from.Close() // who writes on is told so
		take(d)
	}()
	return d, nil
}

// end takes what is in the pipe. Who has answered, or ended, has nothing more to
// say: one that was taken over may well keep its end of the pipe.
func (d *drain) end() {
	d.into.Close()
	_ = d.from.SetReadDeadline(time.Now()) // fails when all is taken
	<-d.done
}

func (d *drain) Read(p []byte) (n int, err error) {
	n, err = d.from.Read(p)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	pipe, err := d.from.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = pipe.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), p[:min(len(p), d.rest)]) }) // does not wait
	if err == nil && n <= 0 {
		return 0, io.EOF
	}
	d.rest -= n
	return n, err
}

// store writes a result into its file, and says why if that is not all of it.
func store(out *os.File, r io.Reader, most int64) outcome {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, io.LimitReader(r, most), *buffer); err != nil {
		if p, is := errors.AsType[*fs.PathError](err); is {
			err = p.Err
		}
		return outcome{Class: ResourceLimit, Reason: fmt.Sprintf("cannot write the result: %v", err)}
	}
	if n, _ := r.Read((*buffer)[:1]); n > 0 {
		return outcome{Class: OutputLimit, Reason: tooMuch(most)}
	}
	return outcome{}
}
