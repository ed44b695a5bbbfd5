@echo off
rem Compare every file on this medium with SHA256SUMS, by the certutil that Windows has.
rem Finds damage; who signed the files is told by verify.py. Ends with 0, 2 (no list) or 6 (damage).
rem No delayed expansion, and file names only inside quotes: ! and & may be in them.
setlocal EnableExtensions DisableDelayedExpansion
pushd "%~dp0" || exit /b 2
if not exist SHA256SUMS echo There is no SHA256SUMS beside this file. 1>&2 & popd & exit /b 2
set /a GOOD=0
set /a BAD=0
for /f "usebackq tokens=1,* delims= " %%A in ("SHA256SUMS") do set "WANT=%%A" & set "FILE=%%B" & call :one
popd
echo %GOOD% files are as they were written, %BAD% are not.
if not "%~1"=="/q" pause
if %BAD% gtr 0 exit /b 6
exit /b 0

:one
set "FILE=%FILE:/=\%"
set "GOT="
if not exist "%FILE%" echo missing: "%FILE%" & set /a BAD+=1 & exit /b
for /f "skip=1 delims=" %%H in ('certutil -hashfile "%FILE%" SHA256') do if not defined GOT set "GOT=%%H"
if not defined GOT echo cannot be read: "%FILE%" & set /a BAD+=1 & exit /b
set "GOT=%GOT: =%"
if /i "%GOT%"=="%WANT%" set /a GOOD+=1 & exit /b
echo changed: "%FILE%"
set /a BAD+=1
exit /b
