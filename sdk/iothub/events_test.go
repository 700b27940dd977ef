package iothub

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func FuzzReadEvents(f *testing.F) {
	f.Add("id: 1\ndata: {}\n\n:\n\ndata: a\ndata: b\n\n")
	f.Add("data\n\nid\n\n: comment\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		err := readEvents(strings.NewReader(text), func(id string, data []byte) error {
			if strings.Contains(id, "\n") {
				t.Errorf("id %q", id)
			}
			return nil
		})
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a stream has no good end: %v", err)
		}
	})
}
