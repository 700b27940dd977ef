package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/transform/host/internal/cage"
)

// The host and the sandbox exchange messages over a socket pair of type
// SOCK_SEQPACKET: the sandbox says that it is there, the host sends one setup, with the module, and then jobs,
// each with three files, and the sandbox answers each with an outcome.

// maxMessage bounds one message; params and reasons are short.
const maxMessage = 176 << 10 // 128 KB of text

// A setup tells the sandbox which module to compile.
type setup struct {
	SHA256  [32]byte // of the module, which comes as a file
	Dir     string   // of the cache, see compiledName
	Cache   int64    // bytes that the compiled module may take there
	Memory  int64    // limit of the linear memory in bytes
	CPU     int64    // seconds that all jobs together may take, for the kernel
	Data    uint64   // bytes, see cage.Limits
	Address uint64   // bytes, see cage.Limits

	Judge     string // format of results to hold against a schema, which comes instead of a module
	Interpret bool   // although there is a compiler
	Wasm      bool   // although there is native code
}

// A job asks for one run of the module. Its files are stdin, stdout and stderr.
type job struct {
	Args   texts
	Env    texts // NAME=value
	Output int64 // bytes
}

// texts travel byte by byte: a string in JSON would lose what is not UTF-8, and
// the name of a file may be anything.
type texts []string

func (t texts) MarshalJSON() ([]byte, error) {
	all := make([][]byte, len(t))
	for i, s := range t {
		all[i] = []byte(s)
	}
	return json.Marshal(all)
}

func (t *texts) UnmarshalJSON(data []byte) error {
	var all [][]byte
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*t = make(texts, len(all))
	for i, b := range all {
		(*t)[i] = string(b)
	}
	return nil
}

// An outcome answers a setup or a job.
type outcome struct {
	Class  Class // "" if all is well
	Code   int
	Reason string
	Note   string // of a run that did not end well, "" if there is nothing to add
	Memory int64  // linear memory in bytes
	Native bool   // there was none: Memory is the heap of native code. In the answer to a setup: there will be none

	Missing  []cage.Missing // layers, in the answer to a setup
	Uncached string         // why the compiled module is not kept, in that too; "" if it is
}

// mostMissing is more than there are layers.
const mostMissing = 8

// tame makes an outcome that a sandbox has sent fit to be passed on: it may have
// been taken over.
func (o outcome) tame() outcome {
	if o.Class != "" && !slices.Contains(classes, o.Class) {
		o.Class = Crash
	}
	o.Memory = max(o.Memory, 0)
	o.Missing = slices.Clone(o.Missing[:min(len(o.Missing), mostMissing)])
	for i, m := range o.Missing {
		o.Missing[i] = cage.Missing{Layer: firstLine(printable(m.Layer)), Why: firstLine(printable(m.Why))}
	}
	for _, text := range []*string{&o.Reason, &o.Note, &o.Uncached} {
		*text = firstLine(printable(*text))
	}
	return o
}

func send(conn *net.UnixConn, message any, files ...*os.File) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return errors.New("a message to the sandbox is too long: shorten the params")
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(data, rights, nil)
	return err
}

// receive returns io.EOF when the other end is gone.
func receive(conn *net.UnixConn, message any) ([]*os.File, error) {
	data, rights := make([]byte, maxMessage), make([]byte, syscall.CmsgSpace(3*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(data, rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	files, err := parseRights(rights[:oobn])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data[:n], message); err != nil {
		return files, fmt.Errorf("unreadable message: %w", err)
	}
	return files, nil
}

func parseRights(rights []byte) ([]*os.File, error) {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "job"))
		}
	}
	return files, nil
}

// socketPair returns the host's end and the file to give to the sandbox.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	child := os.NewFile(uintptr(fds[1]), "sandbox")
	conn, err := fileConn(os.NewFile(uintptr(fds[0]), "host"))
	if err != nil {
		child.Close()
		return nil, nil, err
	}
	return conn, child, nil
}

func fileConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("not a unix socket")
	}
	return unix, nil
}
