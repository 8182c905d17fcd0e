use std::path::PathBuf;

use super::*;

struct Package(PathBuf);

impl Package {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cluster-npm-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("node_modules/.bin")).expect("a folder");
        std::fs::write(path.join("node_modules/.bin/next"), "").expect("a file");
        std::fs::write(path.join("package.json"), text).expect("a file");
        Self(path)
    }

    fn instead(&self, line: &str) -> Option<String> {
        let words = shlex::split(line).expect("words");
        let wrapper = find(Command::of(words), &self.0)?;
        Some(wrapper.instead.map_or_else(String::new, |command| command.to_string()))
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_server_behind_a_wrapper_is_found() {
    let package = Package::new(
        "found",
        r#"{"scripts": {
            "start": "node server.js",
            "prod": "NODE_ENV=production node --enable-source-maps dist/main.js --port 80",
            "cross": "cross-env 'A=a b' node server.mjs",
            "dev": "nodemon server.js",
            "watch": "tsx watch src/app.ts",
            "ts": "tsx src/app.ts",
            "again": "npm run prod",
            "built": "tsc && node dist/main.js",
            "serve": "next start -p 3000",
            "loop": "npm run loop"
        }}"#,
    );
    for (line, wanted) in [
        ("npm start", "cluster run server.js"),
        ("/usr/bin/npm start -- --port 80", "cluster run server.js --port 80"),
        ("npm run start a", "cluster run server.js a"),
        ("node /usr/lib/node_modules/npm/bin/npm-cli.js start", "cluster run server.js"),
        (
            "npm run --silent prod",
            "cluster run --env NODE_ENV=production node --enable-source-maps dist/main.js --port 80",
        ),
        (
            "npm run again",
            "cluster run --env NODE_ENV=production node --enable-source-maps dist/main.js --port 80",
        ),
        ("yarn cross", "cluster run --env A='a b' server.mjs"),
        ("pnpm run dev", "cluster run server.js"),
        ("pnpm dev", "cluster run server.js"),
        ("pnpm exec tsx app.ts", "cluster run node --import tsx app.ts"),
        ("npm run watch", "cluster run node --import tsx src/app.ts"),
        ("npm run ts", "cluster run node --import tsx src/app.ts"),
        ("npm run built", ""),
        ("npm run serve", "cluster run ./node_modules/.bin/next start -p 3000"),
        ("yarn next start", "cluster run ./node_modules/.bin/next start"),
        ("npm run loop", ""),
        ("npm run none", ""),
        ("npm --prefix x start", ""),
        ("npm", ""),
        ("npx tsx app.ts", "cluster run node --import tsx app.ts"),
        ("./node_modules/.bin/tsx app.ts x", "cluster run node --import tsx app.ts x"),
        ("tsx --tsconfig x app.ts", ""),
        ("nodemon app.mjs x", "cluster run app.mjs x"),
        ("nodemon --exec x", ""),
        ("node --watch server.js", "cluster run server.js"),
        ("node --watch-path=src -r ./x server.js", "cluster run node -r ./x server.js"),
        ("node --run start", "cluster run server.js"),
        ("env A=b npm start", "cluster run --env A=b server.js"),
        ("sh -c 'exec npm start'", "cluster run server.js"),
        ("pm2-runtime server.js", ""),
    ] {
        assert_eq!(package.instead(line).as_deref(), Some(wanted), "{line}");
    }
}

#[test]
fn other_programs_are_no_wrappers() {
    let package = Package::new("none", "{}");
    for line in [
        "node server.js",
        "node server.js --watch",
        "node --import tsx app.ts",
        "env A=b node server.js",
        "sh -c 'exec python3 app.py'",
        "sh -c 'npm start && true'",
        "gunicorn app",
        "npm.js",
        "node npm.js",
        "./server",
        "nodered",
    ] {
        assert_eq!(package.instead(line), None, "{line}");
    }
}

#[test]
fn the_folder_of_the_package_is_named_where_it_is_another() {
    let package = Package::new("above", r#"{"scripts": {"start": "node server.js"}}"#);
    let inside = package.0.join("src");
    std::fs::create_dir(&inside).expect("a folder");
    let wrapper = find(Command::of(["npm", "start"]), &inside).expect("a wrapper");
    let instead = wrapper.instead.expect("it is known").to_string();
    assert_eq!(instead, format!("cluster run --cwd {} server.js", package.0.display()));
}

#[test]
fn what_runs_before_a_script_is_mentioned() {
    let package =
        Package::new("pre", r#"{"scripts": {"start": "node a.js", "prestart": "npm run build"}}"#);
    let wrapper = find(Command::of(["npm", "start"]), &package.0).expect("a wrapper");
    let text = wrapper.error();
    assert!(
        text.contains(r#"(package.json: "start": "node a.js"; run "prestart" first)"#),
        "{text}"
    );
}
