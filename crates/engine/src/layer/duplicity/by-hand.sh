(
set -eu
mkdir -p tree
# Of each volume these folders, and in them what is wanted.
wanted=()
for kind in snapshot multivol_snapshot diff multivol_diff; do
    for path in "${paths[@]:-}"; do wanted+=("$kind${path:+/$path}"); done
done
full=$(cd "$archive" && ls duplicity-full.*.manifest* | sort | tail -n 1)
full_time=$(echo "$full" | cut -d . -f 2)
# The newest full set, and the increments since.
for manifest in "$full" $(cd "$archive" && ls duplicity-inc.*.manifest* 2>/dev/null | sort); do
    set_name=${manifest%.manifest*}
    start=$(echo "$set_name" | cut -d . -f 2)
    if [ "$(printf '%s\n%s\n' "$full_time" "$start" | sort | head -n 1)" != "$full_time" ]; then
        continue
    fi
    rm -rf piece
    mkdir piece
    : > deleted.list
    for volume in $(cd "$archive" && ls "$set_name".vol*.difftar* | sort -V); do
        case $volume in
            *.gpg) printf '%s\n' "${PASSPHRASE-}" |
                       gpg --batch --quiet ${PASSPHRASE:+--pinentry-mode loopback --passphrase-fd 0} \
                           --output volume.tar --yes --decrypt "$archive/$volume" ;;
            *) gzip --decompress --stdout "$archive/$volume" > volume.tar ;;
        esac
        # One name a line. Of \001 and a digit behind it, bash would take the digit, too, but not of \0001.
        LC_ALL=C tar --warning=none --list --quoting-style=escape --file volume.tar |
            sed -E 's/\\(0?)(.)/\\\1\1\2/g' |
            grep '^deleted/' >> deleted.list || true
        # Not every volume has everything that is wanted; any other complaint is the end.
        LC_ALL=C tar --warning=none --extract --directory piece --file volume.tar "${wanted[@]}" 2> complaints ||
            if grep -a -v -e ': Not found in archive$' -e 'Exiting with failure' complaints >&2; then
                exit 1
            fi
    done
    # Gone since the set before.
    while IFS= read -r line; do
        printf -v path '%b' "${line#deleted/}"
        if [ -n "$path" ]; then rm -rf "tree/$path"; fi
    done < deleted.list
    cd piece
    # Files that came in pieces, 1, 2, 3 and so on.
    for kind in snapshot diff; do
        if [ -d multivol_$kind ]; then
            find multivol_$kind -type f -name 1 -print0 | while IFS= read -r -d '' first; do
                folder=${first%/1}
                target=$kind/${folder#multivol_$kind/}
                mkdir -p "${target%/*}"
                for number in $(ls "$folder" | sort -n); do cat "$folder/$number"; done > "$target"
            done
        fi
    done
    # Files that changed in part.
    if [ -d diff ]; then
        find diff -type f -print0 | while IFS= read -r -d '' delta; do
            file=../tree/${delta#diff/}
            rdiff patch "$file" "$delta" "$file.new"
            mv "$file.new" "$file"
        done
    fi
    # What is new or whole. What became another kind of object makes room first.
    if [ -d snapshot ]; then
        (cd snapshot && find . -mindepth 1 ! -type d -print0) | while IFS= read -r -d '' path; do
            rm -rf "../tree/$path"
        done
        (cd snapshot && find . -mindepth 1 -type d -print0) | while IFS= read -r -d '' path; do
            if [ ! -d "../tree/$path" ]; then rm -f "../tree/$path"; fi
        done
        cp -a snapshot/. ../tree/
    fi
    cd ..
done
rm -rf piece volume.tar deleted.list complaints
)
