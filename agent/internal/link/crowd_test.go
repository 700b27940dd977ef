package link

import (
	"net"
	"path/filepath"
	"testing"
)

// TestCrowd: one user has so many connections and no more, until some have ended.
func TestCrowd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 2*maxOpenEach)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var first net.Conn
	for range maxOpenEach {
		dial()
		if conn := <-accepted; first == nil {
			first = conn
		}
	}
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one too many is still there")
	}
	first.Close()
	first.Close()
	dial()
	<-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one that was closed twice has made two places")
	}
}
