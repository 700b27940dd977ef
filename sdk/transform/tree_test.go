package transform

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
)

// A state goes through, with one file renamed and one added.
func TestTree(t *testing.T) {
	var in, out bytes.Buffer
	w := tar.NewWriter(&in)
	for _, header := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o750}, {Typeflag: tar.TypeReg, Name: "d/a", Mode: 0o600, Size: 3}, {Typeflag: tar.TypeReg, Name: "unread", Mode: 0o644, Size: 3},
	} {
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "one"[:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	err := Archive(func(in *tar.Reader, out *tar.Writer, _ Edge) error {
		err := Walk(in, func(header *tar.Header, content io.Reader) error {
			if header.Name == "unread" {
				return nil
			}
			header.Name = strings.Replace(header.Name, "/a", "/b", 1)
			return Keep(out, header, content)
		})
		if err != nil {
			return err
		}
		return Put(out, "e/new", 0o640, []byte("two"))
	})(&in, &out, Edge{})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	err = Walk(tar.NewReader(&out), func(header *tar.Header, content io.Reader) error {
		text, err := io.ReadAll(content)
		got += header.FileInfo().Mode().String() + " " + header.Name + " " + string(text) + "\n"
		return err
	})
	if want := "drwxr-x--- d/ \n-rw------- d/b one\n-rw-r----- e/new two\n"; err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
}
