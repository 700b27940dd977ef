package lwm2m

import (
	"errors"
	"fmt"
	"strings"
)

// Argument is one argument of an execute: a digit and perhaps a value.
type Argument struct {
	Digit int // 0 to 9
	Value string
}

// ParseArguments reads the arguments of an execute (OMA LwM2M 1.1 section 6.3.6):
// "0='once',3" has argument 0 with the value "once" and argument 3 without one.
func ParseArguments(s string) ([]Argument, error) {
	var list []Argument
	for rest := s; rest != ""; {
		a, after, err := parseArgument(rest)
		if err != nil {
			return nil, fmt.Errorf("cannot read the arguments %.40q: %w", s, err)
		}
		list = append(list, a)
		if after != "" && (after[0] != ',' || len(after) == 1) {
			return nil, fmt.Errorf("cannot read the arguments %.40q: there is no comma between two", s)
		}
		rest = strings.TrimPrefix(after, ",")
	}
	return list, nil
}

func parseArgument(s string) (a Argument, rest string, err error) {
	if s[0] < '0' || s[0] > '9' {
		return a, "", errors.New("an argument does not begin with a digit")
	}
	a.Digit = int(s[0] - '0')
	quoted, ok := strings.CutPrefix(s[1:], "='")
	if !ok {
		return a, s[1:], nil
	}
	a.Value, rest, ok = strings.Cut(quoted, "'")
	if !ok {
		return a, "", errors.New("a value does not end with '")
	}
	return a, rest, nil
}

// FormatArguments writes arguments for [Device.Execute]. A value must not contain
// a single quote, which the format cannot hold.
func FormatArguments(arguments ...Argument) (string, error) {
	var words []string
	for _, a := range arguments {
		switch {
		case a.Digit < 0 || a.Digit > 9:
			return "", fmt.Errorf("cannot write argument %d: it is no digit", a.Digit)
		case strings.Contains(a.Value, "'"):
			return "", fmt.Errorf("cannot write argument %d: its value contains a quote", a.Digit)
		case a.Value == "":
			words = append(words, fmt.Sprint(a.Digit))
		default:
			words = append(words, fmt.Sprintf("%d='%s'", a.Digit, a.Value))
		}
	}
	return strings.Join(words, ","), nil
}
