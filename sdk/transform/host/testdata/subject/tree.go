package main

import (
	"archive/tar"
	"errors"
	"io"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// tree joins all files into one, "all/joined", or writes what a host must
// refuse, by the param evil.
func tree() {
	transform.Tree(func(in *tar.Reader, out *tar.Writer, e transform.Edge) error {
		var joined strings.Builder
		for {
			header, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			joined.WriteString(header.Name + "\n")
			if _, err := io.Copy(&joined, in); err != nil {
				return err
			}
		}
		switch e.Params["evil"] {
		case "escape":
			return file(out, tar.Header{Name: "../escaped"}, "x")
		case "absolute":
			return file(out, tar.Header{Name: "/tmp/escaped"}, "x")
		case "symlink":
			return file(out, tar.Header{Name: "link", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}, "")
		case "device":
			return file(out, tar.Header{Name: "null", Typeflag: tar.TypeChar}, "")
		case "twice":
			if err := file(out, tar.Header{Name: "a"}, "x"); err != nil {
				return err
			}
			return file(out, tar.Header{Name: "./a"}, "y")
		case "below a file":
			if err := file(out, tar.Header{Name: "a"}, "x"); err != nil {
				return err
			}
			return file(out, tar.Header{Name: "a/b"}, "y")
		case "deep":
			return file(out, tar.Header{Name: strings.Repeat("d/", 900) + "f"}, "x")
		case "long":
			return file(out, tar.Header{Name: strings.Repeat("a/"+strings.Repeat("b", 200)+"/", 6) + "f"}, "x")
		case "long part":
			return file(out, tar.Header{Name: "a/" + strings.Repeat("b", 256)}, "x")
		case "nothing":
			return nil
		case "locked":
			if err := out.WriteHeader(&tar.Header{Name: "locked/", Typeflag: tar.TypeDir}); err != nil {
				return err
			}
			return file(out, tar.Header{Name: "locked/f"}, "x")
		}
		return file(out, tar.Header{Name: "all/joined", Mode: 0o640}, joined.String())
	})
}

func file(out *tar.Writer, header tar.Header, content string) error {
	header.Size = int64(len(content))
	if err := out.WriteHeader(&header); err != nil {
		return err
	}
	_, err := io.WriteString(out, content)
	return err
}
